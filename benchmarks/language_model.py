"""Character model on tinyshakespeare: ours by its recipe against a plain PyTorch LSTM, the same training seconds one
after the other.

    python benchmarks/language_model.py [--recipe=tinyshakespeare_3min] [--seconds=180] [--no-peer]

Both read the first 90% of the text and are scored on the whole last 10%, one pass that carries the state. The peer: one
LSTM of 256 units, 16 lanes, 64 steps, Adam 0.004, cosine to 0, clipped at 1. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from own_command import command
from results import write_section

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
REFERENCE = {"7-gram Kneser-Ney": 1.5165, "nanoGPT on a CPU, 252 s": 1.898, "nanoGPT on an A100": 1.4697}


def ours(recipe: str, seconds: float, work: Path) -> dict[str, Any]:
    """Runs prepare, train and evaluate as a user would."""
    data, model = work / "data", work / "model"
    command(
        "prepare",
        "--task=language_model",
        "--source=text",
        "--tokenizer=char",
        "--splits=0.9,0.1",
        f"--input={TEXT}",
        f"--output_dir={data}",
    )
    flagfile = f"--flagfile={ROOT}/trainer/recipes/{recipe}.flags"
    trained = command("train", flagfile, f"--data_dir={data}", f"--model_dir={model}", f"--train_seconds={seconds}")
    scored = command("evaluate", f"--model_dir={model}", f"--data_dir={data}", "--split=validation")
    return {**trained, **scored["metrics"], "count": scored["count"]}


def peer(seconds: float) -> dict[str, Any]:
    """The plain PyTorch loop, in this process: call it in a fresh one."""
    import numpy as np
    import torch

    torch.manual_seed(0)
    text = TEXT.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    ids = torch.tensor(np.searchsorted(alphabet, list(text)))
    border = int(0.9 * len(ids))
    train, validation = ids[:border], ids[border:]
    embed, lstm, head = (
        torch.nn.Embedding(len(alphabet), 256),
        torch.nn.LSTM(256, 256, batch_first=True),
        torch.nn.Linear(256, len(alphabet)),
    )
    parameters = [*embed.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.004)
    loss_of = torch.nn.functional.cross_entropy
    lanes, length, state, at, steps = 16, 64, None, 0, 0
    lane = (len(train) - 1) // lanes
    inputs, targets = (train[shift : shift + lanes * lane].reshape(lanes, lane) for shift in (0, 1))
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        if at + length > lane:
            at, state = 0, None
        for group in optimizer.param_groups:
            group["lr"] = 0.004 * (0.5 + 0.5 * math.cos(math.pi * elapsed / seconds))
        outputs, state = lstm(embed(inputs[:, at : at + length]), state)
        state = tuple(part.detach() for part in state)
        loss = loss_of(head(outputs).reshape(lanes * length, -1), targets[:, at : at + length].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        at, steps = at + length, steps + 1
    total, state = 0.0, None
    with torch.no_grad():
        for first in range(0, len(validation) - 1, 512):
            part = validation[first : first + 513]
            outputs, state = lstm(embed(part[None, :-1]), state)
            total += float(loss_of(head(outputs)[0], part[1:], reduction="sum"))
    return {
        "nats_per_char": total / (len(validation) - 1),
        "tokens_per_second": steps * lanes * length / seconds,
        "step": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="tinyshakespeare_3min")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--only-peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_peer:
        print(json.dumps(peer(arguments.seconds)))
        return
    if not TEXT.exists():
        sys.exit(f"{TEXT} is not here: this benchmark needs the public text tinyshakespeare")
    rows: dict[str, dict[str, Any]] = {}
    if not arguments.no_peer:
        command = [sys.executable, __file__, "--only-peer", f"--seconds={arguments.seconds}"]
        rows["PyTorch LSTM, 256 units"] = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
    with tempfile.TemporaryDirectory() as work:
        rows[f"ours, {arguments.recipe}"] = ours(arguments.recipe, arguments.seconds, Path(work))
    lines = [
        "| model | training s | steps | tokens/s | nats/char, one pass | nats/char, windows of 256 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        apart = f"{row['windowed_nats_per_char']:.4f}" if "windowed_nats_per_char" in row else "-"
        lines.append(
            f"| {name} | {arguments.seconds:.0f} | {row['step']} | {row['tokens_per_second']:.0f} | "
            f"{row['nats_per_char']:.4f} | {apart} |"
        )
    lines += [f"| {name} (docs/language_models.md) | | | | {score:.4f} | - |" for name, score in REFERENCE.items()]
    table = "\n".join(lines)
    print(table)
    write_section(f"Language model, {arguments.recipe}", table)
    own = rows[f"ours, {arguments.recipe}"]
    result: dict[str, Any] = {
        "nats_per_char": own["nats_per_char"],
        "windowed_nats_per_char": own["windowed_nats_per_char"],
        "count": own["count"],
    }
    if "PyTorch LSTM, 256 units" in rows:
        result["peer_nats_per_char"] = rows["PyTorch LSTM, 256 units"]["nats_per_char"]
        result["ahead_by"] = result["peer_nats_per_char"] - result["nats_per_char"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
