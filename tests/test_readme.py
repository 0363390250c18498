"""The README names every flag with its default, and its commands are right in any shell."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from launch import job, local
from launch.job import JobFlags
from trainer.cli import flags
from trainer.config import prepare as prepare_config
from trainer.config import train as config
from trainer.config import trained_model as trained_model_config

ROOT = Path(__file__).parents[1]
COMMANDS = {"prepare": prepare_config.PrepareConfig, "inspect": prepare_config.InspectConfig, "train": config.TrainConfig}
COMMANDS |= {name: getattr(trained_model_config, f"{name.capitalize()}Config") for name in ("evaluate", "export", "predict")}
COMMANDS["kubernetes"] = JobFlags


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_has_every_flag_and_no_other(command):
    text = (ROOT / "README.md").read_text()
    section = text.partition(f"<!-- flags of {command} -->")[2].partition("<!-- end -->")[0]
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in section.splitlines() if line.startswith("| `--")}
    specs = {f"`--{spec.name}`": spec for spec in flags.flag_specs(COMMANDS[command])}
    assert set(rows) == set(specs)
    for name, default in rows.items():
        spec = specs[name]
        if spec.default is dataclasses.MISSING:
            assert default == "required"
        elif spec.default not in (None, "", ()):
            shown = ",".join(spec.default) if spec.kind is tuple else str(spec.default)
            assert default.lower() == shown.lower(), name


def commands() -> list[str]:
    """What the README's blocks have people type, each with all of its lines."""
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.search(r"\b(python3?|pip|make|docker|kubectl|curl|srun) ", line)]


def test_every_command_of_the_readme_is_right(monkeypatch):
    monkeypatch.chdir(ROOT)
    tried = set()
    for line in commands():
        found = re.search(r"python -m (trainer|launch)\.(\w+) (.*)", line)
        if found is None or "..." in line or "--help" in line:
            continue
        package, command, arguments = found[1], found[2], shlex.split(found[3], comments=True)
        if package == "trainer":
            flags.parse(COMMANDS[command], arguments)
        elif command == "local":
            local.parse(arguments)
        elif arguments[0] in ("submit", "render"):
            job.read(JobFlags, [argument for argument in arguments[1:] if argument != "--follow"])
        tried.add(f"{package}.{command}")
    assert all(any(f"--recipe={recipe}" in line for line in commands()) for recipe in ("dates", "multi30k_en_de", "tinyshakespeare_3min"))
    assert tried == {f"trainer.{name}" for name in COMMANDS if name != "kubernetes"} | {"launch.local", "launch.kubernetes"}


def test_patterns_stand_in_quotes():
    """Of an unquoted one that fits no file, as `--input=*.csv` fits none, zsh makes an error."""
    text = (ROOT / "README.md").read_text()
    inline = re.findall(r"`((?:--|pip )[^`]*)`", text)
    for typed in [*commands(), *inline]:
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", typed)
        assert not re.search(r"[*?\[]", bare), typed
    assert any("'stores/*.csv'" in typed for typed in inline)
