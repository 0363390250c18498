"""The console scripts, and whether the packages `trainer` and `launch` are those of this distribution.

Other distributions have packages of these names too. One that is installed into the same directory overwrites our
files, and one that Python finds first, such as a folder in the working directory, hides them. So this module imports
nothing of ours.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

DISTRIBUTION = "recurrent-trainer"
PACKAGES = ("trainer", "launch")
EXIT_CONFIG = 64

_HERE = Path(__file__).resolve().parent
_ALONE = f"install {DISTRIBUTION} in a virtual environment of its own"


def check_packages(*packages: str) -> None:
    """Ends the process with 64 where a package of this name is not ours. Takes less than a millisecond and imports none
    of them.
    """
    sizes = _installed_sizes()
    for package in packages:
        own = _HERE / package / "__init__.py"
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else own
        if origin != own:
            remedy = (
                f"start the command outside {origin.parents[1]} and without it in PYTHONPATH, best by its "
                "console script"
            )
            _refuse(f"{package} is taken from {origin}, which hides {own}; {remedy}")
        if not own.is_file() or own.stat().st_size != sizes.get(f"{package}/__init__.py", own.stat().st_size):
            others = " and ".join(_others_with(package)) or "another distribution"
            _refuse(
                f"{own} is not what {DISTRIBUTION} installed, since {others} has that name too; uninstall both, then "
                f"{_ALONE}"
            )


def mixed_packages() -> Iterator[str]:
    """Yields a warning for every other distribution that has files among ours, which still work.

    Compares the names of files with those that pip noted, in about a millisecond; only where there is one more it looks
    for its owner, which takes longer.
    """
    installed = _installed_sizes()
    for package in PACKAGES if installed else ():
        noted = {path.split("/")[1] for path in installed if path.startswith(f"{package}/")} | {"__pycache__"}
        if not noted.issuperset(path.name for path in (_HERE / package).iterdir()):
            for other in _others_with(package):
                yield (
                    f"{_HERE / package} holds files of {other} too, so that removing either damages the other; {_ALONE}"
                )


def _installed_sizes() -> dict[str, int]:
    """Our files and their sizes as pip noted them, by path from the directory of this module; empty where that is a
    checkout.
    """
    sizes = {}
    for record in _HERE.glob(f"{DISTRIBUTION.replace('-', '_')}-*.dist-info/RECORD"):
        for line in record.read_text(encoding="utf-8").splitlines():
            path, _, size = line.rsplit(",", 2)
            sizes[path] = int(size or 0)
    return sizes


def _others_with(package: str) -> list[str]:
    """Names and versions of the other distributions in our directory that have files in `package`."""
    from importlib import metadata  # takes longer than all else here

    found = []
    for other in metadata.distributions(path=[str(_HERE)]):
        listed = "\n" + (other.read_text("RECORD") or "")
        if f"\n{package}/" in listed and other.metadata["Name"] != DISTRIBUTION:
            found.append(f"{other.metadata['Name']} {other.version}")
    return sorted(found)


def _refuse(text: str) -> NoReturn:
    sys.stderr.write(f"error: {text}\n")
    sys.exit(EXIT_CONFIG)


def _run(module: str) -> None:
    """Runs a command as `python -m` does, but never one of the working directory."""
    check_packages(*sorted({"trainer", module.partition(".")[0]}))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


trainer = partial(_run, "trainer")
prepare = partial(_run, "trainer.prepare")
inspect = partial(_run, "trainer.inspect")
train = partial(_run, "trainer.train")
evaluate = partial(_run, "trainer.evaluate")
export = partial(_run, "trainer.export")
predict = partial(_run, "trainer.predict")
launch_local = partial(_run, "launch.local")
launch_kubernetes = partial(_run, "launch.kubernetes")

if (
    __name__ == "__main__"
):  # python PATH MODULE --name=value ...: as `python -m MODULE`, with the packages that lie beside this file
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
