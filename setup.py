"""Packaging: `pip install .` on a CPU, `pip install .[gpu]` with TensorFlow's CUDA libraries."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.findall(
    r'^__version__ = "(.+)"$', (ROOT / "trainer" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
)[0]
TENSORFLOW = "2.21.*"
SCRIPTS = [
    "trainer",
    "prepare",
    "inspect",
    "train",
    "evaluate",
    "export",
    "predict",
    "launch-local",
    "launch-kubernetes",
]
LAUNCH = ["kubernetes>=31", "PyYAML>=6"]

setup(
    name="recurrent-trainer",
    version=VERSION,
    description="Trains recurrent sequence models with TensorFlow on one GPU, a host or a cluster, and exports them "
    "for serving",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The recurrent-trainer maintainers",
    keywords="tensorflow, lstm, gru, time series, forecasting, language model, translation, savedmodel, kubernetes",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["trainer", "trainer.*", "launch", "launch.*"]), "launch.k8s"],
    py_modules=["recurrent_trainer"],
    entry_points={
        "console_scripts": [f"recurrent-{name} = recurrent_trainer:{name.replace('-', '_')}" for name in SCRIPTS]
    },
    package_dir={"launch.k8s": "k8s"},  # launch reads the files that people apply
    package_data={
        "trainer": ["recipes/*.flags", "py.typed"],
        "trainer.reports": ["*.jinja"],
        "launch.k8s": ["**/*.yaml"],
    },
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
            *(
                "pytest>=8",
                "pytest-cov>=7",
                "pytest-xdist",
                "hypothesis>=6",
                "ruff==0.17.*",
                "mypy==2.4.*",
                "types-tqdm",
                "setuptools>=77",
            ),
            *("gcp-storage-emulator", "trustme"),
            "atheris; python_version >= '3.11' and platform_machine == 'x86_64'",  # has wheels for these
            *(*LAUNCH, "kubernetes-validate>=1.30", "jsonschema", "types-PyYAML"),
        ],
        "bench": ["torch"],
    },
)
