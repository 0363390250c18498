"""The wheel in an environment of its own, outside the checkout, and beside other packages that are called `trainer` and
`launch`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from commands import ROOT

from trainer import __version__
from trainer.__main__ import COMMANDS, script_of
from trainer.cli import recipe

OTHERS = [place for place in sys.path if place.endswith("-packages")]  # where TensorFlow and all else is


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    texts = [str(part) for part in command]
    return subprocess.run(texts, cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """The directory of the scripts of an environment with the wheel, which sees our packages but not the checkout."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory).stdout.strip()
    Path(own, "others.pth").write_text(
        "\n".join(OTHERS)
    )  # the .pth files in there, such as that of an editable install, are not read
    done = run(
        sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", wheel, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return python.parent


@pytest.fixture(scope="module")
def hiding(tmp_path_factory) -> Path:
    """A working directory with packages of the names of ours."""
    directory = tmp_path_factory.mktemp("hiding")
    for name in (
        "trainer/__init__.py",
        "trainer/train.py",
        "trainer/cli/flags.py",
        "launch/__init__.py",
        "launch/local.py",
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(
            "raise SystemExit('not ours')\n" if name.endswith(("train.py", "local.py")) else ""
        )
    return directory


@pytest.fixture
def site(wheel, tmp_path) -> Path:
    """The wheel's files in a directory that can be damaged."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    return tmp_path / "site"


def install_other(site: Path, files: dict[str, str], name: str = "trainer") -> None:
    """Puts another distribution's files over what is there, as pip does."""
    record = site / f"{name}-0.0.36.dist-info" / "RECORD"
    record.parent.mkdir()
    record.with_name("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.36\n")
    record.write_text("".join(f"{path},,{len(text)}\n" for path, text in files.items()))
    for path, text in files.items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text(text)


def script(site: Path, name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import recurrent_trainer; recurrent_trainer.{name}()"
    return run(sys.executable, "-c", code, *arguments, cwd=cwd, PYTHONPATH=str(site))


def test_the_scripts_are_those_of_the_commands(scripts):
    made = {path.name for path in scripts.glob("recurrent-*")}
    assert made == {"recurrent-trainer", *(script_of(module) for module in COMMANDS)}
    modules = {
        f"{path.parent.name}.{path.stem}"
        for path in ROOT.glob("*/*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert set(COMMANDS) == {module for module in modules if module.startswith(("trainer.", "launch."))} - {
        "trainer.__main__"
    }


@pytest.mark.parametrize("module", ["trainer", *COMMANDS])
def test_help_of_every_script(scripts, hiding, module):
    name = "recurrent-trainer" if module == "trainer" else script_of(module)
    done = run(scripts / name, "--help", cwd=hiding)
    assert (done.returncode, done.stderr) == (0, "")
    assert module in done.stdout and len(done.stdout.splitlines()) > 5


def test_version_and_commands(scripts, tmp_path):
    for command in ([scripts / "recurrent-trainer"], [scripts / "python", "-m", "trainer"]):
        assert run(*command, "--version", cwd=tmp_path).stdout == f"recurrent-trainer {__version__}\n"
        listed = run(*command, "--help", cwd=tmp_path).stdout
        for module, text in COMMANDS.items():
            assert re.search(rf"^ +{script_of(module)} +python -m {module} +{re.escape(text)}$", listed, re.MULTILINE)
    done = run(scripts / "recurrent-trainer", "train", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert (
        done.stderr
        == "error: --help and --version are all that python -m trainer takes, not train; run python -m trainer.train\n"
    )


def test_the_version_stands_in_one_place(scripts):
    code = "from importlib import metadata as m; print(m.version('recurrent-trainer'))"
    assert run(scripts / "python", "-c", code, cwd=scripts).stdout == f"{__version__}\n"
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == __version__
    places = [ROOT / name for name in ("setup.py", "pyproject.toml", "Makefile", "README.md", "recurrent_trainer.py")]
    places += [
        path
        for folder in ("trainer", "launch", "k8s")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    ]
    assert [path for path in places if re.search(rf"\b{re.escape(__version__)}\b", path.read_text())] == [
        ROOT / "trainer" / "__init__.py"
    ]


def test_a_run_by_the_scripts_alone(scripts, hiding):
    """Data, a recipe by its name, and workers, whose code is the launcher's whatever lies in the working directory."""
    done = run(
        scripts / "recurrent-prepare",
        "--task=forecast",
        "--source=sample",
        "--output_dir=data",
        "--num_shards=1",
        cwd=hiding,
    )
    assert done.returncode == 0, done.stderr
    assert run(scripts / "recurrent-train", "--recipe=help", cwd=hiding).stdout == recipe.listing() + "\n"
    quick = ["--recipe=forecast_sample", "--train_steps=1", "--units=4", "--data_dir=data", "--model_dir=model"]
    done = run(scripts / "recurrent-launch-local", "--", *quick, cwd=hiding)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["step"] == 1
    assert "--lookback=168" in (hiding / "model" / "flags.txt").read_text()
    assert json.loads((hiding / "model" / "config.json").read_text())["versions"]["trainer"] == __version__


def test_a_package_that_hides_ours_is_named(scripts, site, hiding):
    python = (
        scripts / "python"
    )  # an editable install, which the tests run in, would find the modules that a hiding package lacks
    done = run(python, "-m", "launch.kubernetes", "--help", cwd=hiding, PYTHONPATH=str(site))
    assert done.returncode == 1 and "No module named launch.kubernetes" in done.stderr, (
        "ours is not reached: the README tells why"
    )
    shutil.copytree(hiding / "trainer", hiding / "one" / "trainer")
    told = (
        f"error: trainer is taken from {hiding}/one/trainer/__init__.py, which hides {site}/trainer/__init__.py; "
        "start the command "
    )
    told += f"outside {hiding}/one and without it in PYTHONPATH, best by its console script\n"
    for command in (
        ["-m", "launch.local"],
        ["-m", "launch.kubernetes"],
        ["-c", "import recurrent_trainer; recurrent_trainer.train()"],
    ):
        done = run(python, *command, "--help", cwd=hiding / "one", PYTHONPATH=str(site))
        assert (done.returncode, done.stdout, done.stderr) == (64, "", told)


@pytest.mark.parametrize("package", ["trainer", "launch"])
def test_a_distribution_that_overwrote_ours_is_named(site, tmp_path, package):
    install_other(
        site, {f"{package}/__init__.py": "raise ImportError('theirs')\n", f"{package}/io.py": ""}, "some-other"
    )
    told = (
        f"error: {site}/{package}/__init__.py is not what recurrent-trainer installed, since some-other 0.0.36 has "
        "that name too; "
    )
    told += "uninstall both, then install recurrent-trainer in a virtual environment of its own\n"
    done = script(site, "launch_local", "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (64, "", told)
    (site / package / "__init__.py").write_text("")  # ours can be reached in theirs, if that can be imported
    done = run(sys.executable, "-m", "trainer.train", "--help", cwd=tmp_path, PYTHONPATH=str(site))
    assert (done.returncode, done.stderr) == ((64, told) if package == "trainer" else (0, done.stderr))
    (site / package / "__init__.py").unlink()  # as uninstalling the other one does
    assert script(site, "launch_local", "--help", cwd=tmp_path).stderr == told


@pytest.mark.parametrize("package", ["trainer", "launch"])
def test_a_distribution_among_our_files_is_named(site, tmp_path, package):
    install_other(site, {f"{package}/io.py": "", f"{package}/utils/__init__.py": ""}, "some-other")
    install_other(site, {"unrelated/__init__.py": "", f"{package}er/__init__.py": ""}, "unrelated")
    told = f"{site}/{package} holds files of some-other 0.0.36 too, so that removing either damages the other; "
    told += "install recurrent-trainer in a virtual environment of its own"
    for module, code in (("trainer.prepare", 0), ("launch.kubernetes", 0), ("launch.local", 64)):
        done = run(
            sys.executable, "-m", module, "--nonsense=1" if code else "--help", cwd=tmp_path, PYTHONPATH=str(site)
        )
        assert done.returncode == code, done.stderr
        assert [line.partition(" WARNING ")[2] for line in done.stderr.splitlines() if "WARNING" in line] == [told]


def test_nothing_is_said_where_all_is_ours(site, tmp_path):
    install_other(site, {"unrelated/__init__.py": ""}, "unrelated")
    (site / "trainer" / "note.txt").write_text("of no distribution")
    done = run(sys.executable, "-m", "trainer.prepare", "--help", cwd=tmp_path, PYTHONPATH=str(site))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_reads_no_other_distribution(site, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import recurrent_trainer as r; r.check_packages(*r.PACKAGES); "
    )
    code += "print(list(r.mixed_packages()), 'importlib.metadata' in sys.modules)"
    done = run(sys.executable, "-I", "-S", "-c", code, cwd=tmp_path)
    assert done.stdout == "[] False\n", done.stderr


def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", "*.egg-info", ".*_cache"),
    )
    code = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists(), "they would need files that are not there"
    assert (unpacked / "CHANGELOG.md").is_file()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", f"--wheel-dir={tmp_path}"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(unpacked)], check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_the_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = archive.read(name).decode()
    assert f"\nVersion: {__version__}\n" in told
    assert "\nAuthor: The recurrent-trainer maintainers\n" in told
    assert "\nClassifier: Programming Language :: Python :: 3.13\n" in told
