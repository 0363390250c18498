"""The pages: code is code, links, files and flags exist, docs/flags.md is fresh. Commands: test_docs_commands.py."""

import ast
import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from pages import NAMES, PAGES, ROOT, blocks, lines, prose

from docs.make_flags import COMMANDS, PAGE, page
from launch import kustomize
from trainer.cli.flags import flag_specs

LANGUAGES = {"sh", "python", "json", "yaml", "ini", "text"}  # text: pictures and trees
LARGEST_PICTURES = 200_000  # bytes of all together
OF_OTHERS = {  # flags in the prose that no configuration declares
    *("flagfile", "help", "version", "recipe"),  # of every command, or of train
    *("target",),  # of the fuzzer
}
FOLDERS = "trainer|launch|tests|benchmarks|docs|k8s"


def test_the_flags_are_those_of_the_commands() -> None:
    assert PAGE.read_text() == page(), "docs/flags.md is stale: make docs"
    commands = {
        f"trainer.{path.stem}" for path in (ROOT / "trainer").glob("[a-z]*.py") if "run_command(" in path.read_text()
    }
    assert {command.partition(" ")[0] for command in COMMANDS} == commands | {"launch.local", "launch.kubernetes"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_tables_have_every_flag_once(command: str) -> None:
    section = PAGE.read_text().partition(f"## `python -m {command}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `--(\w+)` \|", section, re.MULTILINE)
    assert rows == [spec.name for spec in flag_specs(COMMANDS[command][0])] and rows


@pytest.mark.parametrize("name", NAMES)
def test_blocks_say_what_they_are(name: str) -> None:
    """A block without a language would be checked by no test."""
    assert {language for language, _ in blocks(name)} <= LANGUAGES


@pytest.mark.parametrize("name", NAMES)
def test_no_merge_is_left_halfway(name: str) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", (ROOT / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_code_is_code(name: str) -> None:
    for language, content in blocks(name):
        if language == "python":
            ast.parse(content)
        elif language == "json":
            assert all(isinstance(json.loads(line), dict) for line in content.splitlines())
        elif language == "yaml":
            assert isinstance(yaml.safe_load(content), dict)
        elif language == "ini":
            configparser.ConfigParser().read_string(content)  # raises where it is wrong


def test_the_overlay_of_ones_own_builds(tmp_path: Path) -> None:
    """docs/kubernetes.md shows it, with a file of flags as k8s/prepare has one; by kubectl where it is there."""
    (shown,) = (content for language, content in blocks("docs/kubernetes.md") if language == "yaml")
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    own = tmp_path / shown.splitlines()[0].removeprefix("# ")
    own.parent.mkdir()
    shutil.copy(ROOT / "k8s" / "prepare" / "flags.yaml", own.parent)
    if shutil.which("kubectl"):
        own.write_text(shown)
        made = subprocess.run(["kubectl", "kustomize", str(own.parent)], capture_output=True, text=True, check=True)
        assert "registry/recurrent-trainer:gpu" in made.stdout and "--source=sample" in made.stdout
    own.write_text("".join(line for line in shown.splitlines(True) if not line.startswith("images:")))  # kubectl's
    assert "--source=sample" in json.dumps(kustomize.build(own.parent))


def test_the_example_task_is_shown_as_it_is() -> None:
    example = ROOT / "tests" / "example_task"
    shown = blocks("docs/adding_a_task.md")
    files = [example / "majority" / f"{name}.py" for name in ("flags", "facts", "prepare", "task", "predict")]
    assert [content for language, content in shown if language == "python"] == [path.read_text() for path in files]
    (points,) = (content for language, content in shown if language == "ini")
    assert points == (example / "majority_task-1.0.dist-info" / "entry_points.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", prose(name)):
        file, _, anchor = (target[0] or target[1]).partition("#")
        if "://" not in file:
            place = path.parent / file if file else path
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_page_is_linked() -> None:
    linked = {
        (path.parent / target).resolve()
        for path in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    }
    assert {path for path in PAGES if path not in linked} == {ROOT / "README.md"}


@pytest.mark.parametrize("name", NAMES)
def test_files_in_the_prose_exist(name: str) -> None:
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", prose(name)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", NAMES)
def test_flags_in_the_prose_exist(name: str) -> None:
    known = {spec.name for config_class, _ in COMMANDS.values() for spec in flag_specs(config_class)} | OF_OTHERS
    for typed in re.findall(r"`([^`]*)`", prose(name)):
        for flag in re.findall(r"(?<![\w-])--([a-z]\w*)(?![\w-])", typed):
            assert flag in known or (flag.endswith("_") and any(each.startswith(flag) for each in known)), typed


@pytest.mark.parametrize("name", NAMES)
def test_patterns_stand_in_quotes(name: str) -> None:
    """Of an unquoted one that fits no file, as `--input=*.csv` fits none, zsh makes an error."""
    inline = re.findall(r"`((?:--|pip )[^`]*)`", prose(name))
    for typed in [*lines(name), *inline]:
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", typed)
        assert not re.search(r"[*?\[]", bare), typed


def test_the_first_page_is_short_and_its_pictures_small() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()) < LARGEST_PICTURES
