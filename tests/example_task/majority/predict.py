"""Lines of bits in, probabilities out, with an exported model alone."""

import time
from pathlib import Path

import numpy as np

from trainer.dataset.input_files import find_files
from trainer.storage.atomic_file import atomic_file
from trainer.tasks.requests import ask


def run(load, contract, config, told):
    lines = "".join(Path(path).read_text() for path in find_files(config.input)).split()
    model, started = load(), time.perf_counter()
    found = ask(
        model, "serving_default", contract, {"bits": np.array([list(map(int, line)) for line in lines], np.int32)}
    )["probability"]
    with atomic_file(config.output) as path:
        path.write_text("".join(f"{line},{probability:.6f}\n" for line, probability in zip(lines, found)))
    return {"predictions": len(lines), "seconds": round(time.perf_counter() - started, 3)}
