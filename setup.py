"""Packaging: `pip install .` on a CPU, `pip install .[gpu]` with TensorFlow's CUDA libraries."""

from pathlib import Path

from setuptools import find_packages, setup

TENSORFLOW = "2.21.*"
LAUNCH = ["kubernetes>=31", "PyYAML>=6"]

setup(
    name="recurrent-trainer",
    version="0.1.0",
    description="Trains recurrent sequence models with TensorFlow on one GPU, a host or a cluster, and exports them for serving",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["trainer", "trainer.*", "launch", "launch.*"]), "launch.k8s"],
    package_dir={"launch.k8s": "k8s"},  # launch reads the files that people apply
    package_data={"trainer": ["recipes/*.flags", "py.typed"], "trainer.evaluation": ["*.jinja"], "launch.k8s": ["**/*.yaml"]},
    install_requires=[
        f"tensorflow=={TENSORFLOW}",
        f"tensorflow-text=={TENSORFLOW}",  # only for exports with a sentencepiece vocabulary
        f"tensorflow-serving-api=={TENSORFLOW}",  # the format of warm-up requests
        "sentencepiece",
        "sacrebleu>=2.3",
        "keras>=3.12,<4",  # 3.12 is the newest that Python 3.10 gets
        "tensorboard",
        "tensorflow-datasets>=4.9.9",
        "importlib-resources",  # tensorflow-datasets imports it and does not ask for it
        "google-cloud-storage>=3",
        "google-crc32c",
        "absl-py>=2",
        "numpy",
        "tqdm",
        "matplotlib",
        "Jinja2>=3",
    ],
    extras_require={
        "gpu": [f"tensorflow[and-cuda]=={TENSORFLOW}"],
        "launch": LAUNCH,
        "test": [
            *("pytest>=8", "pytest-xdist", "hypothesis>=6", "ruff==0.17.*", "mypy==2.4.*", "types-tqdm"),
            *("gcp-storage-emulator", "trustme"),
            "atheris; python_version >= '3.11' and platform_machine == 'x86_64'",  # has wheels for these
            *(*LAUNCH, "kubernetes-validate>=1.30", "jsonschema", "types-PyYAML"),
        ],
        "bench": ["torch"],
    },
)
