"""Lines of bits in, probabilities out, with an exported model alone."""

from pathlib import Path

import numpy as np

from trainer.dataset.input_files import find_files
from trainer.storage.atomic_file import atomic_file
from trainer.tasks.requests import ask


def run(load, contract, config, to_addresses):
    lines = "".join(Path(path).read_text() for path in find_files(config.input)).split()
    bits = np.array([list(map(int, line)) for line in lines], np.int32)
    found = ask(load(), "serving_default", contract, {"bits": bits})["probability"]
    with atomic_file(config.output) as path:
        path.write_text("".join(f"{line},{probability:.6f}\n" for line, probability in zip(lines, found)))
    return {"predictions": len(lines)}
