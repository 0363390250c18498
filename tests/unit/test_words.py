"""Names follow docs/glossary.md: words that were given up do not come back."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
SOURCES = sorted([*ROOT.glob("trainer/**/*.py"), *ROOT.glob("launch/**/*.py")])


def given_up() -> list[str]:
    table = (ROOT / "docs" / "glossary.md").read_text().partition("## Given up")[2]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def names(path: Path) -> set[str]:
    """Names of the file, and the words that they are made of."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    whole = {token.string for token in tokens if token.type == tokenize.NAME}
    return whole | {word for name in whole for word in name.split("_")}


@pytest.mark.parametrize("word", given_up())
def test_a_word_is_gone_from_names(word: str) -> None:
    assert not [str(path.relative_to(ROOT)) for path in SOURCES if word in names(path)]


def test_there_are_such_words() -> None:
    assert {"Noise", "Rollout", "rivals", "repeat_last"} <= set(given_up())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_say_what_things_are(path: Path) -> None:
    """None begins with "What": the thing itself has a name."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, DOCUMENTED)]
    assert not [text for node in nodes if (text := ast.get_docstring(node) or "").startswith("What ")]
