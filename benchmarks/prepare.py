"""Preparation of a large text: speed, memory and use of the cores, beside `cat` and a CRC of the same bytes by one
process a core.

The text is English again and again, each copy under a heading of its own. All times are those of whole commands, from
the start of the first process to the end of the last, medians of rounds in which each has its turn. How busy the cores
are once the processes run is the CPU time over the time that the command takes longer than for `SMALL_MB`. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from results import machine, table, write_section  # noqa: E402

SMALL_MB = 16
TEXT = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
CRC = """
import sys, google_crc32c
crc = 0
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            crc = google_crc32c.extend(crc, block)
"""


def write_text(path: Path, size: int) -> None:
    """Writes `size` bytes of ASCII text."""
    from trainer.tasks.language_model.sample_text import sample_text

    copy = (TEXT.read_text(encoding="utf-8") if TEXT.exists() else sample_text()).encode("ascii", "replace")
    with path.open("wb") as file:
        for number in range(size // len(copy) + 1):
            text = b"Copy %d\n%s" % (number, copy)
            file.write(text[: size - file.tell()])


def run(commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Runs commands at once: seconds, seconds of CPU, peak memory of all processes together in MB, and the last one's
    stdout.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }  # or each start compiles anew
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) for command in commands
    ]
    peak = 0.0
    while any(process.poll() is None for process in processes):
        peak = max(peak, sum(memory_mb(process.pid) for process in processes))
        time.sleep(0.02)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    output = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{commands[0]} ended with {[process.returncode for process in processes]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak, "output": output[-1]}


def memory_mb(pid: int) -> float:
    """What a process and its children hold of memory, pages that several share counted in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:  # it has ended
        return 0.0
    own = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
    return own + sum(memory_mb(int(child)) for child in children)


def cat_and_crc(files: Sequence[Path], cores: int, copy_to: Path | None) -> dict[str, Any]:
    """`cat` and then a CRC32C of files, shared by one process a core; copied to the disk, or read only."""
    if copy_to is not None:
        copy_to.mkdir()
    jobs = []
    for core in range(cores):
        own = " ".join(f"'{path}'" for path in files[core::cores])
        target = "/dev/null" if copy_to is None else f"'{copy_to}/{core}'"
        sync = "" if copy_to is None else f" && sync {target}"
        jobs.append(["sh", "-c", f"cat {own} > {target}{sync} && '{sys.executable}' -c '{CRC}' {own}"])
    found = run(jobs)
    if copy_to is not None:
        shutil.rmtree(copy_to)
    return found


def write_texts(directory: Path, size: int, cores: int) -> list[Path]:
    """`size` bytes of text in a file a core."""
    directory.mkdir()
    files = [directory / f"{core}.txt" for core in range(cores)]
    for path in files:
        write_text(path, size // cores)
    return files


def prepare(files: Sequence[Path], output: Path) -> dict[str, Any]:
    """Prepares texts, one a core, into a directory that is not there yet: what `run` tells with the command's
    `result`.
    """
    flags = {
        "input": ",".join(map(str, files)),
        "output_dir": output,
        "num_processes": len(files),
        "splits": "0.98,0.01,0.01",
    }
    fixed = ["--task=language_model", "--source=text", "--tokenizer=byte"]
    command = [sys.executable, "-m", "trainer.prepare", *fixed, *(f"--{name}={value}" for name, value in flags.items())]
    found = run([command])
    result, size = json.loads(found["output"].splitlines()[-1]), sum(path.stat().st_size for path in files)
    if sum(result["tokens"].values()) != size:
        raise RuntimeError(f"{result['tokens']} are not {size} tokens")
    return {**found, "result": result}


def measure(directory: Path, size: int, cores: int, rounds: int) -> dict[str, Any]:
    few, texts = write_texts(directory / "few", SMALL_MB * 10**6, cores), write_texts(directory / "many", size, cores)
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in ("small", "ours", "read", "copied", "shards_copied")}
    for _ in range(rounds):
        output, copy = directory / "data", directory / "copy"
        times["small"].append(prepare(few, output))
        shutil.rmtree(output)
        times["ours"].append(prepare(texts, output))
        shards = sorted(output.glob("*.tfrecord-*"))
        times["read"].append(cat_and_crc(texts, cores, None))
        times["copied"].append(cat_and_crc(texts, cores, copy))
        times["shards_copied"].append(cat_and_crc(shards, cores, copy))
        shutil.rmtree(output)
    median = {name: statistics.median(each["seconds"] for each in own) for name, own in times.items()}
    cpu = {name: statistics.median(each["cpu_seconds"] for each in times[name]) for name in ("small", "ours")}
    written = times["ours"][0]["result"]["bytes"]
    return {
        "mb": size / 1e6,
        "written_mb": written / 1e6,
        "cores": cores,
        "seconds": median["ours"],
        "small_seconds": median["small"],
        "mb_per_second": size / median["ours"] / 1e6,
        "peak_mb": max(each["peak_mb"] for each in times["ours"]),
        "cores_busy": cpu["ours"] / median["ours"],
        "cores_busy_running": (cpu["ours"] - cpu["small"]) / (median["ours"] - median["small"]),
        "read": size / median["read"] / 1e6,
        "copied": size / median["copied"] / 1e6,
        "shards_copied": written / median["shards_copied"] / 1e6,
    }


def section(found: dict[str, Any], load: list[float], command: str, rounds: int) -> str:
    head = (
        f"`{command}`, {time.strftime('%Y-%m-%d')}, on {machine()}.\n"
        f"Load before and after: {load}. Medians of {rounds} interleaved rounds. {found['mb']:.0f} MB of text become"
        f" {found['written_mb']:.0f} MB of shards. {SMALL_MB} MB take {found['small_seconds']:.2f} s: the start"
        " of Python and of the processes. Times are those of whole commands; `running`, for the time beyond that."
    )
    written = found["written_mb"] / found["seconds"]
    busy = f"{found['cores_busy']:.2f} (running {found['cores_busy_running']:.2f})"
    rows = [
        ["prepare, text in", f"{found['mb_per_second']:.0f}", f"{found['peak_mb']:.0f}", busy, ""],
        ["prepare, shards out", f"{written:.0f}", "", "", ""],
    ]
    names = {"read": "`cat` to nowhere and CRC32C, text", "copied": "`cat` to the disk and CRC32C, text"}
    names["shards_copied"] = "`cat` to the disk and CRC32C, shards"
    rows += [[told, f"{found[name]:.0f}", "", "", f"{ratio(found, name):.3f}"] for name, told in names.items()]
    return f"{head}\n\n{table(['what', 'MB/s', 'peak MB, all processes', 'cores busy', 'prepare against it'], rows)}"


def ratio(found: dict[str, Any], name: str) -> float:
    """Our speed over that of `cat` and CRC32C: of the text that is read, or of the shards that are written."""
    megabytes = found["written_mb" if name == "shards_copied" else "mb"]
    return float(megabytes / found["seconds"] / found[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    load = [round(os.getloadavg()[0], 1)]
    with tempfile.TemporaryDirectory(prefix="prepare-") as directory:
        found = measure(Path(directory), options.megabytes * 10**6, options.cores, options.rounds)
    load.append(round(os.getloadavg()[0], 1))
    command = f"python benchmarks/prepare.py --megabytes={options.megabytes} --cores={options.cores}"
    write_section("Preparation of a large text", section(found, load, command, options.rounds))
    against = {name: round(ratio(found, name), 3) for name in ("read", "copied", "shards_copied")}
    plain = {name: round(value, 3) for name, value in found.items() if name not in against}
    yardsticks = {name: round(found[name], 1) for name in against}
    print(json.dumps({**plain, "cat_and_crc_mb_per_second": yardsticks, "against_cat_and_crc": against, "load": load}))


if __name__ == "__main__":
    main()
