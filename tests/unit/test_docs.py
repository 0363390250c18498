"""The pages: commands are right in any shell, code is code, links lead somewhere, and docs/flags.md has every flag."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from docs.make_flags import COMMANDS, PAGE, page
from launch import job, local
from launch.job import JobFlags
from trainer.cli import flags

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
TOOLS = (
    "python3",
    "python",
    "pip",
    "make",
    "docker",
    "kubectl",
    "kind",
    "curl",
    "srun",
    "git",
    "echo",
    "export",
    "tensorboard",
    "gcloud",
)


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and content of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """What a page has people type, each command with all of its lines."""
    text = "".join(content for language, content in blocks(path) if not language).replace("\\\n", " ")
    return [line for line in text.splitlines() if re.search(rf"(^|\| |&& |^[A-Z_]+=\S+ )({'|'.join(TOOLS)})\b", line)]


def test_the_flags_are_those_of_the_commands() -> None:
    assert PAGE.read_text() == page(), "docs/flags.md is stale: make docs"
    assert set(COMMANDS) == {
        f"trainer.{path.stem}" for path in (ROOT / "trainer").glob("[a-z]*.py") if "run_command(" in path.read_text()
    } | {
        "launch.local",
        "launch.kubernetes",
    }


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_right(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)
    for line in commands(ROOT / name):
        shlex.split(line, comments=True)
        found = re.search(r"python -m (\S+) ?(.*)", line)
        if found is None or found[1] in ("venv", "pytest") or "--help" in line:
            continue
        command, arguments = found[1], shlex.split(found[2], comments=True)
        if "--task=majority" in line or "..." in arguments:
            continue
        if command == "launch.local":
            local.parse(arguments)
        elif command == "launch.kubernetes":
            assert arguments[0] in ("submit", "render")
            job.read(JobFlags, [argument for argument in arguments[1:] if argument != "--follow"])
        elif command.startswith("trainer."):
            flags.parse(COMMANDS[command][0], arguments)
        else:
            assert (ROOT / f"{command.replace('.', '/')}.py").exists() or (
                ROOT / command.replace(".", "/") / "__main__.py"
            ).exists(), line


def test_every_command_and_recipe_is_shown() -> None:
    text = "\n".join(line for path in PAGES for line in commands(path))
    assert all(f"python -m {command} " in text for command in COMMANDS)
    assert all(
        f"--recipe={recipe}" in text
        for recipe in ("dates", "multi30k_en_de", "tinyshakespeare_3min", "forecast_sample")
    )


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_make_and_files_of_kustomize_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in commands(ROOT / name):
        for target in re.findall(r"\bmake ([a-z]+)", line.partition("#")[0]):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        for place in re.findall(r"-k (k8s/\S+)", line):
            assert (ROOT / place / "kustomization.yaml").exists(), line


@pytest.mark.parametrize("name", NAMES)
def test_code_is_code(name: str) -> None:
    for language, content in blocks(ROOT / name):
        if language == "python":
            ast.parse(content)
        elif content.startswith("{"):
            assert all(isinstance(json.loads(line), dict) for line in content.splitlines())
        elif ".yaml\n" in content.partition("\n")[0] + "\n" and content.startswith("#"):
            assert isinstance(yaml.safe_load(content), dict)


def test_the_example_task_is_shown_as_it_is() -> None:
    shown = [content for language, content in blocks(ROOT / "docs" / "adding_a_task.md") if language == "python"]
    files = [
        ROOT / "tests" / "example_task" / "majority" / f"{name}.py"
        for name in ("flags", "facts", "prepare", "task", "predict")
    ]
    assert shown == [path.read_text() for path in files]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_linked() -> None:
    linked = {
        (path.parent / target).resolve()
        for path in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text())
    }
    assert {path for path in PAGES if path not in linked and path.parent not in linked} == {ROOT / "README.md"}


@pytest.mark.parametrize("name", NAMES)
def test_patterns_stand_in_quotes(name: str) -> None:
    """Of an unquoted one that fits no file, as `--input=*.csv` fits none, zsh makes an error."""
    inline = re.findall(r"`((?:--|pip )[^`]*)`", (ROOT / name).read_text())
    for typed in [*commands(ROOT / name), *inline]:
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", typed)
        assert not re.search(r"[*?\[]", bare) or "`--largest_...`" in typed, typed


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
