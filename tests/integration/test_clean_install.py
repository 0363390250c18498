"""Every source of every task, and every import, with what `install_requires` brings alone.

The tests' own environment has more packages, of the test extra. A process that refuses to import those is as one of a
clean install.
"""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from series_runs import write_series_csv

from trainer.tasks import registry

requirements = pytest.importorskip("packaging.requirements")
setuptools = pytest.importorskip("setuptools")

ROOT = Path(__file__).parents[2]

REFUSE = """
import sys
REFUSED = {refused!r}
class Refused:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refused)
"""
# In a package, as TFDS's own datasets are: it looks for the files beside their code.
BUILDERS = """
import numpy as np
import tensorflow_datasets as tfds

class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.FEATURES))
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}
    def _generate_examples(self):
        yield from ((number, self.record(number)) for number in range(8))

class ToyText(Toy):
    FEATURES = {"text": tfds.features.Text()}
    def record(self, number):
        return {"text": f"film {number} was good"}

class ToyPairs(Toy):
    FEATURES = {"source": tfds.features.Text(), "target": tfds.features.Text()}
    def record(self, number):
        return {"source": f"the {number}", "target": f"das {number}"}

class ToySeries(Toy):
    FEATURES = {"values": tfds.features.Tensor(shape=(None, 2), dtype=np.float64)}
    def record(self, number):
        return {"values": np.arange(40.0).reshape(20, 2) + number}
"""
PREPARE = """
import json, sys, traceback
from trainer.tasks import registry
from trainer.cli import flags
from trainer.prepare import prepare
from trainer.tasks.configurations import PrepareConfig
found = {}
for name, arguments in json.load(open("cases.json")).items():
    try:
        if "tfds" in name:
            import toy_datasets.builders
        found[name] = prepare(flags.parse(PrepareConfig, arguments))["records"]
    except BaseException:
        found[name] = traceback.format_exc()
json.dump(found, open("found.json", "w"))
"""
IMPORT = """
import importlib, pkgutil, trainer
for module in pkgutil.walk_packages(trainer.__path__, "trainer."):
    if module.name != "trainer.train":  # which takes SIGTERM for itself
        importlib.import_module(module.name)
import launch.local
"""
TASKS = {"forecast": "toy_series", "language_model": "toy_text", "seq2seq": "toy_pairs"}
CASES = {
    "forecast csv": ["--input=a.csv", "--splits=0.8,0.1,0.1"],
    "forecast npy": ["--input=a.npy", "--splits=0.8,0.1,0.1"],
    "forecast sample": [],
    "language_model text": ["--input=a.txt", "--tokenizer=sentencepiece", "--vocab_size=30"],
    "language_model sample": ["--tokenizer=word"],
    "seq2seq pairs": ["--input=a.txt,b.txt", "--tokenizer=sentencepiece", "--vocab_size=30", "--joint_vocabulary"],
    "seq2seq sample": ["--splits=0.9,0.1"],
} | {f"{task} tfds": [f"--tfds_name={name}", "--tfds_dir=tfds", "--splits=0.5,0.5"] for task, name in TASKS.items()}


def install_requires() -> list[str]:
    asked: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **settings: asked.update(settings))
        runpy.run_path(str(ROOT / "setup.py"))
    return list(asked["install_requires"])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(asked: list[str]) -> set[str]:
    """Names of the distributions that pip installs for requirements, extras included."""
    found: set[tuple[str, str]] = set()
    left = [(requirements.Requirement(line), "") for line in asked]
    while left:
        one, extra = left.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *one.extras}:
            if (entry := (canonical(one.name), wanted)) not in found:
                found.add(entry)
                left += [(requirements.Requirement(line), wanted) for line in metadata.requires(one.name) or ()]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def refused() -> set[str]:
    """Modules that a clean install lacks: those of other distributions alone."""
    kept = closure(install_requires()) | {"recurrent-trainer"}
    modules = metadata.packages_distributions().items()
    return {module for module, owners in modules if kept.isdisjoint(map(canonical, owners))} - {"trainer", "launch"}


@pytest.fixture(scope="module")
def clean(refused: set[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs Python code in a directory, without the modules that a clean install lacks."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(REFUSE.format(refused=refused))
    (site / "toy_datasets").mkdir()
    (site / "toy_datasets" / "__init__.py").touch()
    (site / "toy_datasets" / "builders.py").write_text(BUILDERS)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "-c", code]
        return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def prepared(clean: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What preparation gave for each of `CASES`: records by split, or a traceback."""
    place = tmp_path_factory.mktemp("sources")
    write_series_csv(place / "a.csv", 60)
    np.save(place / "a.npy", np.arange(60.0))
    (place / "a.txt").write_text("the dog ran\nthe cat sat\n" * 20)
    (place / "b.txt").write_text("der hund lief\ndie katze sass\n" * 20)
    cases = {}
    for name, arguments in CASES.items():
        task, source = name.split()
        own = [
            f"--task={task}",
            f"--source={source}",
            f"--output_dir=data/{task}_{source}",
            "--num_shards=1",
            "--num_processes=1",
        ]
        cases[name] = [*own, *arguments]
    (place / "cases.json").write_text(json.dumps(cases))
    done = clean(PREPARE, place)
    assert done.returncode == 0, done.stderr
    return json.loads((place / "found.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_a_clean_install_runs_every_source(prepared: dict[str, Any], name: str) -> None:
    assert isinstance(prepared[name], dict), prepared[name]
    assert prepared[name]["train"] > 0


def test_every_source_is_tried() -> None:
    assert set(CASES) == {f"{task} {source}" for task in registry.OURS for source in registry.flags_of(task).sources}


def test_a_clean_install_imports_every_module(clean: Any, tmp_path: Path) -> None:
    done = clean(IMPORT, tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_import_is_asked_for(refused: set[str]) -> None:
    """Those within functions too; the launcher for Kubernetes has an extra of its own."""
    paths = [*ROOT.glob("trainer/**/*.py"), ROOT / "launch" / "local.py"]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert refused.isdisjoint(name.split(".")[0] for name in names), path


def test_the_process_lacks_what_the_test_extra_brings(clean: Any, refused: set[str], tmp_path: Path) -> None:
    assert {"pytest", "hypothesis"} <= refused
    done = clean("import hypothesis", tmp_path)
    assert "ModuleNotFoundError: No module named 'hypothesis'" in done.stderr
