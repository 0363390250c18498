"""The README names every flag with its default."""

import dataclasses
from pathlib import Path

import pytest

from launch.job import JobFlags
from trainer import config, flags, prepare_config, trained_model_config

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
