"""Every test process has two logical CPU devices, so that replicas can be tested anywhere."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from count_series import counts  # noqa: F401 (a fixture, as those below)
from pair_runs import pair_data  # noqa: F401
from series_runs import prepare_csv, write_series_csv
from text_runs import text_data  # noqa: F401

from trainer.tasks.forecast.data.series_slices import SeriesSlice

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process that a test starts
# and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup make test` has them ignore

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def tf():
    """TensorFlow with two logical CPU devices."""
    import tensorflow

    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    if tensorflow.config.get_logical_device_configuration(cpu) is None:
        tensorflow.config.set_logical_device_configuration(cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 2)
    return tensorflow


@pytest.fixture(scope="session", autouse=True)
def devices_of_a_worker(request):
    """A worker of pytest-xdist takes files in any order, and devices can only be made before TensorFlow is first
    used.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        request.getfixturevalue("tf")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test that is marked `alone` waits until no other xdist worker runs one, and then the others wait for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    directory = Path(item.config.cache.mkdir("alone"))
    with (directory / "turn").open("w") as turn, (directory / "running").open("w") as running:
        fcntl.flock(turn, fcntl.LOCK_EX)  # held while waiting, so that nobody overtakes
        fcntl.flock(running, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session")
def etth1() -> Path:
    """The ETTh1 file; tests that need it are skipped where it is absent."""
    path = DATA / "ETTh1.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here: this test needs the public data set ETTh1")
    return path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel as the Dockerfile's first stage makes it, from the files that the build is given."""
    pytest.importorskip("setuptools", minversion="77")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "recurrent_trainer.py"):
        shutil.copy(ROOT / name, source)
    for name in ("trainer", "launch", "k8s"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    return next(target.glob("*.whl"))


@pytest.fixture
def api():
    """The API of a cluster that has the claim which runs mount."""
    from kubernetes_api import KubernetesApi

    api = KubernetesApi()
    api.put("persistentvolumeclaims", {"metadata": {"name": "trainer"}}, "default")
    return api


@pytest.fixture
def client(api):
    """The launcher's client of `api`, over HTTP."""
    from kubernetes.client import Configuration
    from kubernetes_api import serving

    from launch.client import Client

    with serving(api) as address:
        yield Client(Configuration(host=address))


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory) -> Path:
    """600 rows of two hourly series with gaps: 400 train, 100 validation, 100 test."""
    directory = tmp_path_factory.mktemp("small")
    csv = write_series_csv(directory / "small.csv", 600, missing=0.02)
    return prepare_csv(csv, directory / "data", "--splits=400,100,100", "--num_shards=3")


@pytest.fixture(scope="session")
def etth1_parts(etth1: Path) -> list[SeriesSlice]:
    """Training, validation and test part, standardised by the training part as published results are."""
    raw = np.loadtxt(etth1, delimiter=",", skiprows=1, usecols=range(1, 8))[:14400]
    values = ((raw - raw[:8640].mean(0)) / raw[:8640].std(0)).astype(np.float32)
    observed = np.ones(values.shape, bool)
    return [
        SeriesSlice(values, observed, begin, end, tuple(range(7)))
        for begin, end in ((0, 8640), (8640, 11520), (11520, 14400))
    ]
