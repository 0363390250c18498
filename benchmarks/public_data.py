"""The public data sets of the benchmarks, prepared as the recipes want them. They lie in ../shared/data; see the README
there.
"""

from __future__ import annotations

from pathlib import Path

from launched_run import prepare

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "data"
TEXT, SERIES, PAIRS = SOURCE / "tinyshakespeare.txt", SOURCE / "ETTh1.csv", SOURCE / "multi30k"
HOW = {
    "forecast": ("--source=csv", f"--input={SERIES}", "--splits=8640,2880,2880"),
    "language_model": ("--source=text", f"--input={TEXT}", "--tokenizer=char", "--splits=0.9,0.1"),
    "seq2seq": (
        "--source=pairs",
        f"--input={PAIRS}/train.en,{PAIRS}/train.de",
        f"--validation_input={PAIRS}/val.en,{PAIRS}/val.de",
        f"--test_input={PAIRS}/test_2016_flickr.en,{PAIRS}/test_2016_flickr.de",
        "--tokenizer=sentencepiece",
        "--vocab_size=8000",
        "--joint_vocabulary",
    ),
}


def prepared(task: str, work_dir: Path) -> Path:
    """The dataset of a task in `work_dir`, made there if it is not there yet."""
    directory = work_dir / task
    if not (directory / "dataset.json").exists():
        prepare(directory, f"--task={task}", *HOW[task])
    return directory
