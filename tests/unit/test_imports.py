"""Imports point towards earlier stages only, and commands check their flags before they import TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    "errors",
    "storage",
    "config",
    "cli",
    "dataset",
    "text",
    "nn",
    "reports",
    "tasks",
    "training",
    "saved_model",
    "commands",
    "launch",
]
COMMANDS = {"prepare", "inspect", "train", "evaluate", "export", "predict"}


def layer(module: str) -> str:
    top, _, rest = module.partition(".")
    name = rest.split(".")[0]
    return "launch" if top == "launch" else "commands" if name in {*COMMANDS, "__main__"} else name or "errors"


def task_of(module: str) -> str | None:
    """The folder of a task that a module lies in."""
    parts = module.split(".")
    inside = parts[:2] == ["trainer", "tasks"] and len(parts) > 2 and (ROOT / "trainer" / "tasks" / parts[2]).is_dir()
    return parts[2] if inside else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path):
    """Modules that a file imports, anywhere in it and for the type checker too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:  # `from trainer.dataset import manifest` imports a module
                name = f"{node.module}.{alias.name}"
                yield name if (ROOT / f"{name.replace('.', '/')}.py").exists() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


SOURCES = sorted([*ROOT.glob("trainer/**/*.py"), *ROOT.glob("launch/**/*.py")])


def ours(path: Path) -> list[str]:
    return [module for module in imports(path) if module.split(".")[0] in ("trainer", "launch")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_lower_layers(path):
    own = layer(module_of(path))
    for module in ours(path):
        assert LAYERS.index(layer(module)) <= LAYERS.index(own), f"{path.name} ({own}) imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_task_is_known_to_nobody_else(path):
    me = module_of(path)
    for module in ours(path):  # the registry imports by name
        assert task_of(module) in (None, task_of(me)), f"{me} imports {module}"


def test_no_import_is_a_circle():
    """Those for the type checker and those within functions count too."""
    graph = {module_of(path): set(ours(path)) for path in SOURCES}
    done: set[str] = set()

    def inner_loop(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above[above.index(module) :], module))
        if module not in done:
            for each in graph.get(module, ()):
                inner_loop(each, (*above, module))
            done.add(module)

    for module in graph:
        inner_loop(module, ())


def test_the_console_scripts_import_nothing_of_ours():
    """What they start may be hidden or overwritten by other packages of these names, which they have to tell."""
    assert {module.partition(".")[0] for module in imports(ROOT / "recurrent_trainer.py")} <= sys.stdlib_module_names


def test_only_flags_touches_absl():
    users = [path.name for path in SOURCES if any(module.startswith("absl") for module in imports(path))]
    assert users == ["flags.py"]


def below_the_commands(path: Path) -> bool:
    """Whether a file's values come from others, who alone know the flags; files of flags and their texts do know."""
    parts = path.relative_to(ROOT / "trainer").parts if path.is_relative_to(ROOT / "trainer") else ()
    inside_task = len(parts) > 3 and parts[0] == "tasks" and parts[2] in ("data", "model", "evaluation")
    return inside_task or (
        parts[0:1] != () and parts[0] in ("storage", "text", "dataset", "nn", "reports") and parts[-1] != "flags.py"
    )


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if below_the_commands(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_flags_are_named_by_commands(path: Path) -> None:
    """Errors below them tell the value, its fault and the remedy."""
    names = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert not names & {"ConfigError", "Problem"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_wrong_flags_are_told_without_tensorflow(command):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--nonsense=1']\ntry: runpy.run_module('trainer.{command}', "
        "run_name='__main__')\n"
    )
    code += "except SystemExit as e: assert e.code == 64, e.code\nassert 'tensorflow' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--nonsense=1 is not a flag of this command" in done.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/test_*.py")), ids=lambda path: path.stem)
def test_no_test_file_imports_another(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not [name for name in names if name.split(".")[-1].startswith("test_")]
