"""What the pages have people type: each command is read by its own parser, or what it names is there."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_api import KubernetesApi, serving
from pages import NAMES, ROOT, lines, words

from docs.make_flags import COMMANDS
from launch import kubernetes, local
from launch.kubernetes import VERBS, LogsFlags, SubmitFlags
from launch.run_objects import Run
from trainer.cli import flags, recipe
from trainer.errors import ConfigError
from trainer.tasks import configurations, registry
from trainer.training.cluster import cluster_from

EXAMPLE = ROOT / "tests" / "example_task"


@pytest.fixture(autouse=True)
def example_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The task that docs/adding_a_task.md installs, beside ours."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    registry.packages.cache_clear()
    yield
    registry.packages.cache_clear()


class Shell:
    """Checks commands in the order of a page, of whose earlier lines later ones use what they made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._images: set[str] = set()

    def check(self, command: list[str]) -> None:
        """Fails where a command could not run as it stands, or where nobody here can tell."""
        while re.match(r"[A-Z_]+=", command[0]):
            name = command[0].partition("=")[0]
            assert any(name in path.read_text() for path in (ROOT / "tests").rglob("*.py")), command
            command = command[1:]
        program = {"python3": "python", ".": "source"}.get(command[0], command[0])
        check: Callable[[list[str]], None] | None = getattr(self, f"_{program}", None)
        assert check is not None, f"no test knows how to check {command}"
        check(command[1:])

    def _python(self, arguments: list[str]) -> None:
        if arguments[0] != "-m":
            self._script(arguments)
            return
        module, rest = arguments[1], arguments[2:]
        if module == "launch.kubernetes":
            self._cluster(rest[0], rest[1:])
        elif module == "launch.local":
            local.parse(rest)
        elif module == "pytest":
            assert all((ROOT / path).exists() for path in rest), rest
        elif module == "tests.fuzz":
            self._fuzz(rest)
        elif module != "venv":
            self._trainer(module, rest)

    def _trainer(self, module: str, arguments: list[str]) -> None:
        if arguments == [f"--{recipe.FLAG}=help"]:
            return
        if "--task=majority" in arguments:
            own = [argument for argument in arguments if argument not in ("--task=majority", "--source=bits")]
            assert registry.flags_of("majority").sources == ("bits",)
            arguments = [*own, "--task=language_model", "--source=text"]
        flags.parse(getattr(configurations, COMMANDS[module][0].__name__, COMMANDS[module][0]), arguments)

    def _script(self, arguments: list[str]) -> None:
        text = (ROOT / arguments[0]).read_text()
        assert all(argument.partition("=")[0] in text for argument in arguments[1:]), arguments

    def _fuzz(self, arguments: list[str]) -> None:
        targets = (ROOT / "tests" / "fuzz" / "targets.py").read_text()
        for argument in arguments:
            name, _, value = argument.partition("=")
            assert name in ("--seconds", "--target", "--input")
            assert name != "--target" or f'"{value}": Target(' in targets, argument

    def _cluster(self, verb: str, arguments: list[str]) -> None:
        """Against an API server that has what the run names."""
        if verb == "logs" and "--follow" in arguments:
            flags.parse(LogsFlags, arguments)
            return
        api = KubernetesApi()
        api.put("persistentvolumeclaims", {"metadata": {"name": "trainer"}}, "default")
        api.put("localqueues", {"metadata": {"name": "gpus"}}, "default")
        with serving(api) as address:
            self._patch.setattr(kubernetes, "_connect", lambda name, namespace: connected(address, name, namespace))
            if verb == "submit":
                flags.read(SubmitFlags, [*arguments[: arguments.index("--")], "--follow"])
                arguments = [argument for argument in arguments if argument != "--follow"]
            elif verb != "render":
                train = ["--", "--data_dir=/data/set", "--model_dir=/data/model", "--epochs=1"]
                kubernetes.main(["submit", arguments[0], "--image=trainer:1", "--workers=2", *train])
            printed = kubernetes.main([verb, *arguments])
        assert verb in VERBS and (
            verb == "render" or f"--name={json.loads(printed.splitlines()[-1])['name']}" in arguments
        )

    def _source(self, arguments: list[str]) -> None:
        assert arguments == [".venv/bin/activate"]

    def _pip(self, arguments: list[str]) -> None:
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", arguments[1])
        assert arguments[0] == "install" and extra, arguments
        assert extra[1] is None or f'"{extra[1]}": ' in (ROOT / "setup.py").read_text(), arguments

    def _make(self, arguments: list[str]) -> None:
        makefile = (ROOT / "Makefile").read_text()
        for argument in arguments:
            variable, sets, _ = argument.partition("=")
            assert re.search(rf"^{variable} {':=' if sets else ''}|^{variable}:", makefile, re.MULTILINE), argument

    def _ruff(self, arguments: list[str]) -> None:
        assert f"ruff {' '.join(arguments)}" in (ROOT / "Makefile").read_text()

    def _mypy(self, arguments: list[str]) -> None:
        assert f"/{' '.join(['mypy', *arguments])}\n" in (ROOT / "Makefile").read_text()

    def _docker(self, arguments: list[str]) -> None:
        if arguments[0] == "build":
            self._images.add(arguments[arguments.index("-t") + 1])
            built = [value for option, value in itertools.pairwise(arguments) if option == "--build-arg"]
            declared = (ROOT / "Dockerfile").read_text()
            assert all(f"ARG {value.partition('=')[0]}=" in declared for value in built), arguments
        else:
            assert arguments[0] == "run" and arguments[-1] == "tensorflow/serving", arguments

    def _kind(self, arguments: list[str]) -> None:
        assert arguments == ["create", "cluster"] or (arguments[:2] == ["load", "docker-image"])
        assert arguments[0] == "create" or arguments[2] in self._images

    def _kubectl(self, arguments: list[str]) -> None:
        if arguments[:2] == ["apply", "-k"]:
            assert (ROOT / arguments[2] / "kustomization.yaml").exists(), arguments
            return
        verb = next(word for word in ("wait", "rollout", "port-forward") if word in arguments)
        named = next(argument for argument in arguments if "/" in argument)
        kind, _, name = named.partition("/")
        names = objects_of_k8s()
        assert f"{kind}/{name}" in names, (verb, named)

    def _curl(self, arguments: list[str]) -> None:
        assert re.match(r"http://localhost:8501/v1/models/\w+(:predict|/metadata)$", arguments[-1]), arguments

    def _srun(self, arguments: list[str]) -> None:
        self.check(arguments[arguments.index("python") :])

    def _echo(self, arguments: list[str]) -> None:
        assert len(arguments) == 1

    def _export(self, arguments: list[str]) -> None:
        name, _, value = arguments[0].partition("=")
        if name == "TF_CONFIG":
            assert cluster_from({name: value}) is not None
        else:
            assert name == "PYTHONPATH" and (ROOT / value).is_dir()

    def _tensorboard(self, arguments: list[str]) -> None:
        assert re.fullmatch(r"--logdir=\S+", arguments[0])


def connected(address: str, name: str, namespace: str) -> tuple[Any, Run]:
    from kubernetes.client import Configuration

    from launch.client import Client

    return Client(Configuration(host=address)), Run(name, namespace)


def objects_of_k8s() -> set[str]:
    """`kind/name` of all that the kustomizations make, their suffixes applied."""
    found = set()
    for path in (ROOT / "k8s").rglob("kustomization.yaml"):
        suffix = yaml.safe_load(path.read_text()).get("nameSuffix", "")
        files = [path.parent, path.parent.parent / "base"] if suffix else [path.parent]
        for file in (file for directory in files for file in directory.glob("*.yaml")):
            for each in yaml.safe_load_all(file.read_text()):
                if each and "metadata" in each:
                    found.add(f"{each['kind'].lower()}/{each['metadata']['name']}{suffix}")
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if lines(name)])
def test_commands_are_right(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shell = Shell(monkeypatch)
    for line in lines(name):
        for command in words(line):
            shell.check(command)


@pytest.mark.parametrize(
    "line, noticed",
    [
        ("python -m trainer.train --data_dir=d --model_dir=m --epoch=1", "--epochs"),
        ("python -m trainer.train --recipe=date --data_dir=d --model_dir=m", "dates"),
        (
            "python -m launch.kubernetes submit --name=load --image=i:1 -- --data_dir=/data/d --model_dir=/data/m",
            "--epochs",
        ),
        ("python -m launch.kubernetes status --namespace=default", "--name"),
        ("python benchmarks/none.py", "none.py"),
        ("python -m pytest tests/none.py", "none.py"),
        ("make tests", "tests"),
        ("pip install '.[gpus]'", "gpus"),
        ("kubectl rollout status deployment/server", "deployment/server"),
        ("kind load docker-image other:cpu", "other:cpu"),
        ("unknown --flag", "no test knows how"),
    ],
)
def test_wrong_commands_are_noticed(monkeypatch: pytest.MonkeyPatch, line: str, noticed: str) -> None:
    with pytest.raises((AssertionError, ConfigError, FileNotFoundError), match=re.escape(noticed)):
        for command in words(line):
            Shell(monkeypatch).check(command)


def test_every_command_and_recipe_is_shown() -> None:
    text = "\n".join(line for name in NAMES for line in lines(name))
    assert all(f"python -m {command} " in text for command in COMMANDS)
    shown = ("dates", "multi30k_en_de", "tinyshakespeare_3min", "forecast_sample")
    assert all(
        f"--recipe={name}" in text and (Path(recipe.__file__).parents[1] / "recipes" / f"{name}.flags").exists()
        for name in shown
    )
