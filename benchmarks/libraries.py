"""Libraries that do something like code of ours: what their imports, charts, readers and messages cost.

    python benchmarks/libraries.py [--rounds=5] [--gcsfs_python=/path/to/python]

Every measurement has a fresh process. Times are CPU seconds, so that other work on the machine counts little. stdout's
last line is one JSON object. docs/decisions/ tells what follows from it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

IMPORTS = (
    "tensorflow",
    "trainer.dataset.tfrecord",
    "matplotlib.backends.backend_svg",
    "trainer.reports.svg_charts",
    "gcsfs",
    "google.cloud.storage",
    "fsspec",
    "trainer.storage.workspace",
    "simple_parsing",
    "etils.eapp",
    "trainer.cli.flags",
)
PACKAGES = ("tensorflow", "keras", "matplotlib", "simple-parsing", "etils", "fsspec", "google-cloud-storage")
POINTS = 500
RECORDS = {"200 of 1 MB": (200, 1_000_000), "50,000 of 200 bytes": (50_000, 200)}
READERS = ("our reader", "TFRecordDataset, one by one", "TFRecordDataset, 50 at a time")
MISTAKES = ("--lookback=x", "--rate=y", "--lokback=3")


def import_cost(module: str) -> dict[str, float]:
    before, start = memory_mb(), time.process_time()
    __import__(module)
    return {"seconds": time.process_time() - start, "mb": memory_mb() - before}


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def chart_cost(library: str) -> dict[str, float]:
    """A line of `POINTS` points as SVG: kilobytes, and milliseconds of the second chart, all imported."""
    draw = {"ours": our_chart, "matplotlib": matplotlib_chart}[library]
    draw()
    start = time.process_time()
    svg = draw()
    return {"seconds": time.process_time() - start, "kb": len(svg) / 1e3}


def wave() -> Any:
    import numpy as np

    x = np.arange(POINTS)
    return x, np.sin(x / 20) + np.random.default_rng(0).normal(0, 0.1, POINTS)


def our_chart() -> bytes:
    from trainer.reports.svg_charts import Axes, Line, line_chart

    return str(line_chart([Line("observed", "s0", *wave())], Axes("step", "value"))).encode()


def matplotlib_chart() -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure, file = Figure(figsize=(7.6, 3.2), layout="constrained"), io.BytesIO()
    axes = figure.add_subplot(xlabel="step", ylabel="value")
    axes.plot(*wave(), label="observed")
    axes.grid()
    with rc_context({"svg.fonttype": "none"}):  # text as text, which is smaller too
        figure.savefig(file, format="svg")
    return file.getvalue()


def read_cost(reader: str, path: str) -> dict[str, float]:
    """Reads a file of records that the system holds in memory."""
    records = our_records(path) if reader == READERS[0] else tensorflow_records(path, reader == READERS[2])
    next(records)  # what is set up once does not count
    start = time.process_time()
    size = sum(map(len, records))
    return {"seconds": time.process_time() - start, "mb": size / 1e6}


def our_records(path: str) -> Iterator[bytes]:
    from trainer.dataset.tfrecord import scan

    return scan(path)


def tensorflow_records(path: str, batched: bool) -> Iterator[bytes]:
    import tensorflow as tf

    data = tf.data.TFRecordDataset(path)
    if not batched:
        yield from data.as_numpy_iterator()
        return
    for batch in data.batch(50).as_numpy_iterator():
        yield from batch


@dataclass(frozen=True)
class Settings:
    lookback: int = 1
    rate: float = 0.1


def refusal(library: str) -> list[str]:
    """The lines about the three mistakes of `MISTAKES`."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        if library == "simple_parsing":
            import simple_parsing

            simple_parsing.parse(Settings, args=list(MISTAKES))
        elif library == "etils.eapp":
            from etils import eapp

            eapp.make_flags_parser(Settings)(["program", *MISTAKES])
        else:
            printed.write(our_refusal())
    return [line for line in printed.getvalue().splitlines() if not line.startswith("usage:")]


def our_refusal() -> str:
    from trainer.cli import flags
    from trainer.config.fields import flag
    from trainer.errors import ConfigError

    @dataclass(frozen=True)
    class OurSettings:
        lookback: int = flag("time steps", default=1)
        rate: float = flag("learning rate", default=0.1)

    try:
        flags.parse(OurSettings, MISTAKES)
    except ConfigError as error:
        return str(error)
    raise AssertionError("three mistakes were not refused")


CASES: dict[str, Callable[..., Any]] = {
    "import": import_cost,
    "chart": chart_cost,
    "read": read_cost,
    "refusal": refusal,
}


def ask(python: str, case: str, *arguments: str) -> Any:
    """The answer of a fresh process."""
    command = [python, __file__, f"--case={case}", *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def medians(rounds: int, asked: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Of every question's answers, in rounds that ask each in turn."""
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, question in asked.items():
            answers[name].append(ask(*question))
    return {
        name: {key: statistics.median(answer[key] for answer in each) for key in each[0]}
        for name, each in answers.items()
    }


def write_records(path: Path, count: int, size: int) -> None:
    from trainer.dataset.tfrecord import RecordWriter

    with RecordWriter(path) as writer:
        for _ in range(count):
            writer.write(os.urandom(size))


def measure(rounds: int, gcsfs_python: str) -> dict[str, Any]:
    pythons = {"gcsfs": gcsfs_python}
    print_version = "import importlib.metadata; print(importlib.metadata.version('gcsfs'))"
    found: dict[str, Any] = {
        "gcsfs": subprocess.check_output([gcsfs_python, "-c", print_version], text=True).strip(),
        "imports": medians(
            rounds, {module: [pythons.get(module, sys.executable), "import", module] for module in IMPORTS}
        ),
    }
    found["charts"] = medians(
        rounds, {library: [sys.executable, "chart", library] for library in ("ours", "matplotlib")}
    )
    found["readers"] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, (count, size) in RECORDS.items():
            path = Path(directory) / f"{count}.tfrecord"
            write_records(path, count, size)
            questions = {reader: [sys.executable, "read", reader, str(path)] for reader in READERS}
            found["readers"][name] = medians(rounds, questions)
    found["refusals"] = {
        library: ask(sys.executable, "refusal", library) for library in ("ours", "simple_parsing", "etils.eapp")
    }
    return found


def section(found: dict[str, Any], rounds: int, load: list[float]) -> str:
    from importlib.metadata import version

    from benchmarks.results import machine, table

    text = (
        f"`nice -n 10 python benchmarks/libraries.py`, {time.strftime('%Y-%m-%d')}, on {machine()}.\n"
        f"Load before and after: {load}. Medians of {rounds} fresh processes, in CPU seconds; memory is what an import "
        f"added.\nVersions: {', '.join(f'{name} {version(name)}' for name in PACKAGES)}; gcsfs {found['gcsfs']}."
    )
    imports = [[f"`{name}`", f"{cost['seconds']:.2f}", f"{cost['mb']:.0f}"] for name, cost in found["imports"].items()]
    charts = [[name, f"{1e3 * cost['seconds']:.1f}", f"{cost['kb']:.1f}"] for name, cost in found["charts"].items()]
    readers = [
        [name, *(f"{cost['mb'] / cost['seconds']:.0f}" for cost in costs.values())]
        for name, costs in found["readers"].items()
    ]
    refusals = [[name, "<br>".join(f"`{line}`" for line in lines)] for name, lines in found["refusals"].items()]
    return "\n\n".join(
        [
            text,
            table(["import", "s", "MB"], imports),
            table([f"a line of {POINTS} points as SVG", "ms", "KB"], charts),
            table(["records, MB a CPU second", *READERS], readers),
            table([f"what is said of `{' '.join(MISTAKES)}`", ""], refusals),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gcsfs_python", default=sys.executable, help="a Python that has gcsfs")
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(CASES[options.case](*options.arguments)))
        return
    load = [os.getloadavg()[0]]
    found = measure(options.rounds, options.gcsfs_python)
    load.append(os.getloadavg()[0])

    from benchmarks.results import write_section

    write_section("Libraries", section(found, options.rounds, [round(value, 1) for value in load]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
