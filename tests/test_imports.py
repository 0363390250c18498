"""Imports point towards earlier stages only, and commands check their flags before they import TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ["base", "data", "models", "evaluation", "tasks", "training", "serving", "commands", "launch"]
BASE = {
    "cluster",
    "errors",
    "exit_status",
    "file_checksum",
    "config",
    "prepare_config",
    "trained_model_config",
    "flags",
    "flag_help",
    "places",
    "recipe",
    "command",
    "quiet",
    "lean_imports",
    "progress_line",
    "whole_file",
    "storage",
    "__version__",
    "",
}
COMMANDS = {"prepare", "inspect", "train", "evaluate", "export", "predict"}


def stage(module: str) -> str:
    top, _, rest = module.partition(".")
    if top == "launch":
        return "launch"
    name = rest.split(".")[0]
    return "base" if name in BASE else "commands" if name in {*COMMANDS, "__main__"} else name


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from trainer.data import manifest` imports a module; `from trainer import flags` too
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "trainer" else [node.module]
            yield from names
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


SOURCES = sorted([*ROOT.glob("trainer/**/*.py"), *ROOT.glob("launch/**/*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_earlier_stages(path):
    own = stage(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    for module in imports(path):
        if module.split(".")[0] in ("trainer", "launch"):
            assert STAGES.index(stage(module)) <= STAGES.index(own), f"{path.name} ({own}) imports {module}"


def test_the_console_scripts_import_nothing_of_ours():
    """What they start may be hidden or overwritten by other packages of these names, which they have to tell."""
    assert {module.partition(".")[0] for module in imports(ROOT / "recurrent_trainer.py")} <= sys.stdlib_module_names


def test_only_flags_touches_absl():
    users = [path.name for path in SOURCES if any(module.startswith("absl") for module in imports(path))]
    assert users == ["flags.py"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_wrong_flags_are_told_without_tensorflow(command):
    code = f"import sys, runpy; sys.argv = ['x', '--nonsense=1']\ntry: runpy.run_module('trainer.{command}', run_name='__main__')\n"
    code += "except SystemExit as e: assert e.code == 64, e.code\nassert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--nonsense=1 is not a flag of this command" in done.stderr
