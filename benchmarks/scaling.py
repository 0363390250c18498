"""Two workers of one core each against one worker of one core, and the bytes that they send.

    python benchmarks/scaling.py [--steps=60] [--rounds=3]

Character model (GRU of 512 units, batch 64, 64 steps) on the embedded sample, the same global batch for one worker and
for two. Each worker is pinned to a core of its own. As a reference for what the machine gives, two one-worker runs at
the same time, a core each. A step's time is the median of the middle steps as the trainer reports it. Rounds are
interleaved.

Bytes: what the loopback device sends between two reports in the middle of a run (in a network namespace of our own
where the system lets us make one, so that nothing else counts), beside the lower bound of a ring all-reduce, 2 (N - 1)
/ N x parameters x 4 bytes a worker and step. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from launched_run import LaunchedRun, prepare, steps
from results import machine, table, write_section

BATCH, SEQUENCE = 64, 64
FLAGS = [
    "--cell=gru",
    "--units=512",
    "--embedding_size=64",
    f"--batch_size={BATCH}",
    f"--sequence_length={SEQUENCE}",
    "--learning_rate=0.001",
]
FLAGS += ["--evaluate_every_steps=1000000", "--save_every_steps=1000000"]
STEPS_OF_START = 10  # compilation, the first inner loops
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40


def enter_own_network() -> bool:
    """Moves this process, and what it starts, to a network with nothing but a loopback device; False where the system
    refuses.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING))
    return True


def bytes_sent() -> int:
    """Bytes that the loopback device has sent so far, headers included."""
    for line in Path("/proc/self/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, fields = line.partition(":")
        if name.strip() == "lo":
            return int(fields.split()[8])
    raise RuntimeError("there is no loopback device")


def run_pinned(model_dirs: list[Path], flags: list[str], workers: int, cores: list[int]) -> tuple[list[float], float]:
    """Runs launches of `workers` workers at the same time, `cores` shared out among all of them.

    Returns:
      The seconds of a middle step of each launch, and the bytes that the loopback device sent a step of the first one.
    """
    runs = [LaunchedRun(model_dir, flags, workers=workers) for model_dir in model_dirs]
    try:
        places = iter(cores)
        for run in runs:
            run.wait(lambda run=run: bool(run.starts) and len(run.starts[0].processes) == workers, 60)  # type: ignore[misc]
            for _, process in sorted(run.starts[0].processes.items()):
                os.sched_setaffinity(process, {next(places)})  # before TensorFlow is imported and counts the cores
        traffic = _bytes_a_step(runs[0])
        for run in runs:
            code, _ = run.finish(900)
            if code != 0:
                raise RuntimeError(f"a run ended with {code}:\n" + "\n".join(run.log[-40:]))
    finally:
        for run in runs:
            run.__exit__()
    middle = [[float(line["seconds"]) for line in steps(model_dir)[STEPS_OF_START:]] for model_dir in model_dirs]
    return [statistics.median(seconds) for seconds in middle], traffic


def _bytes_a_step(run: LaunchedRun) -> float:
    """Bytes from the first report after the start to the last one, divided by the steps between."""
    seen: list[tuple[int, int]] = []
    while run.process.poll() is None:
        run.poll()
        step = run.step()
        if step > STEPS_OF_START and (not seen or step > seen[-1][0]):
            seen.append((step, bytes_sent()))
        time.sleep(0.01)
    if len(seen) < 3:
        raise RuntimeError("too few reports to count bytes a step; use more --steps\n" + "\n".join(run.log[-40:]))
    (first, before), (last, after) = seen[0], seen[-2]  # beside the last one stand validation and saving
    return (after - before) / max(1, last - first)


def parameters(model_dir: Path) -> int:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(
        tf.train.latest_checkpoint(str(model_dir / "checkpoints" / "best")) or str(model_dir / "checkpoints")
    )
    shapes = reader.get_variable_to_shape_map()
    return sum(int(tf.TensorShape(shape).num_elements()) for name, shape in shapes.items() if name.startswith("model/"))


def measure(work: Path, count: int, rounds: int, cores: list[int]) -> dict[str, Any]:
    data = prepare(work / "data", "--task=language_model", "--source=sample")
    flags = [*FLAGS, f"--data_dir={data}", f"--train_steps={count}"]
    seconds: dict[str, list[float]] = {"one": [], "apart": [], "two": []}
    traffic = []
    for round_ in range(rounds):
        at = work / str(round_)
        seconds["one"] += run_pinned([at / "one"], flags, 1, cores[:1])[0]
        middle, sent = run_pinned([at / "two"], flags, 2, cores)
        seconds["two"] += middle
        traffic.append(sent)
        seconds["apart"] += run_pinned([at / "apart-0", at / "apart-1"], flags, 1, cores)[0]
    one, two, apart = (statistics.median(seconds[name]) for name in ("one", "two", "apart"))
    size = parameters(work / "0" / "two")
    sent = statistics.median(traffic) / 2
    bound = 2 * (2 - 1) / 2 * size * 4
    return {
        "speedup": one / two,
        "speedup_of_two_independent_runs": 2 * one / apart,
        "step_seconds": {"one_worker": one, "two_workers": two, "two_independent_runs": apart},
        "parameters": size,
        "bytes_a_worker_and_step": sent,
        "lower_bound_bytes": bound,
        "bytes_against_lower_bound": sent / bound,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores")
    apart = enter_own_network()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        result = measure(Path(directory), arguments.steps, arguments.rounds, cores)
    result["own_network"] = apart
    times = result["step_seconds"]
    speeds = {name: BATCH * SEQUENCE / value for name, value in times.items()}
    rows = [
        ["one worker, one core", f"{1000 * times['one_worker']:.0f}", f"{speeds['one_worker']:.0f}", "1.00"],
        [
            "two workers, a core each",
            f"{1000 * times['two_workers']:.0f}",
            f"{speeds['two_workers']:.0f}",
            f"{result['speedup']:.2f}",
        ],
        [
            "two runs that have nothing to do with each other",
            f"{1000 * times['two_independent_runs']:.0f}",
            f"{2 * speeds['two_independent_runs']:.0f}",
            f"{result['speedup_of_two_independent_runs']:.2f}",
        ],
    ]
    text = table(["", "ms a step", "tokens/s", "times one worker"], rows)
    ratio, size = result["bytes_against_lower_bound"], result["parameters"]
    text += (
        f"\n\nEach worker sends {result['bytes_a_worker_and_step'] / 1e6:.3f} MB a step, {ratio:.3f} times the lower "
        "bound of a ring"
        f" all-reduce of {size} parameters. Loopback device "
        f"{'of its own' if apart else 'SHARED with the whole machine'}."
    )
    print(text)
    head = (
        f"`python benchmarks/scaling.py --steps={arguments.steps} --rounds={arguments.rounds}`, on {machine()}. "
        f"Load before: {before:.1f}."
    )
    write_section("Two workers", f"{head}\n\n{text}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
