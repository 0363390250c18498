"""The image itself, built with buildah from the Dockerfile. Takes minutes, and needs a base image and the packages:

TRAINER_IMAGE_BASE=python:3.12.12-slim-bookworm python -m pytest tests/integration/test_image.py

TRAINER_IMAGE_OPTIONS holds more options of `buildah build`, such as `--volume=/etc/pip.conf:/etc/pip.conf:ro` where
packages come from a mirror; BUILDAH_ISOLATION and BUILDAH_RUNTIME are buildah's own.
"""

import json
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest
from commands import ROOT

BASE = os.environ.get("TRAINER_IMAGE_BASE", "")
# The root is read-only but for /tmp and /cache, as in a pod.
ENTER = """
set -eu
root=$1; shift
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o uid=10001 tmpfs "$root/cache"
exec chroot --userspec=10001:10001 "$root" "$@"
"""
UNCOMPILED = """
import os, sys, trainer.training.run, trainer.reports.page, launch.local
modules = [module for module in list(sys.modules.values()) if getattr(module, "__cached__", None)]
files = [(module.__cached__, module.__file__) for module in modules]
print(len(files), *(source for cached, source in files if not os.path.exists(cached)))
"""

if shutil.which("buildah") is None:
    pytest.skip("no buildah here (apt-get install buildah): the image is not built", allow_module_level=True)
if not BASE:
    pytest.skip(
        "TRAINER_IMAGE_BASE names no base image, as in python:3.12.12-slim-bookworm: the image is not built",
        allow_module_level=True,
    )


def buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def inside() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command in a container of the image, as its user, with a read-only root."""
    options = [
        "--build-arg=DEVICE=cpu",
        f"--build-arg=BASE={BASE}",
        *shlex.split(os.environ.get("TRAINER_IMAGE_OPTIONS", "")),
    ]
    image = f"localhost/recurrent-trainer-test:{uuid.uuid4().hex}"
    buildah("build", *options, f"--tag={image}", str(ROOT))
    settings = json.loads(buildah("inspect", "--type=image", image))["OCIv1"]["config"]
    assert (settings["User"], settings["Entrypoint"]) == ("10001", ["python", "-m"])
    container = buildah("from", "--pull-never", image)
    try:
        # The mounts are in a name space of their own, which without root is that of the user's containers.
        apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["buildah", "unshare"]
        root = buildah("mount", container) if os.geteuid() == 0 else f"$(buildah mount {container})"

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            shell = [*apart, "sh", "-c", f'set -eu; root={root}; sh -c "$0" enter "$root" "$@"', ENTER]
            environment = ["env", "-i", *settings["Env"]]
            return subprocess.run([*shell, *environment, *command], capture_output=True, text=True, check=False)

        yield run
    finally:
        buildah("rm", container)
        buildah("rmi", image)


def test_the_smoke_test_on_a_read_only_root(inside):
    refused = inside("touch", "/opt/file")
    assert refused.returncode != 0 and "Read-only file system" in refused.stderr
    done = inside("sh", "/opt/smoke.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the image works"


def test_all_that_is_imported_has_bytecode(inside):
    done = inside("python", "-c", UNCOMPILED)
    assert done.returncode == 0, done.stderr
    count, *uncompiled = done.stdout.split()
    assert int(count) > 1000 and uncompiled == []


def test_recipes_are_found(inside):
    done = inside("python", "-m", "trainer.train", "--recipe=help")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(
        path.stem for path in (ROOT / "trainer/recipes").iterdir()
    )
    assert inside("recurrent-trainer", "--version").stdout == inside("python", "-m", "trainer", "--version").stdout
