"""A small text, and runs on it."""

from pathlib import Path

import numpy as np
import pytest
from runs import quick_config

from trainer.cli import flags
from trainer.tasks.configurations import PrepareConfig, TrainConfig

WORDS = tuple(("the cat sat on the mat and the dog ran to the end of the long road where birds sing").split())  # noqa: SIM905


def text_dataset(directory: Path, *more: str) -> Path:
    from trainer import prepare

    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS, random.integers(3, 12))) for _ in range(300)]
    (directory / "text.txt").write_text("\n".join(lines) + "\n")
    arguments = [
        "--task=language_model",
        "--source=text",
        f"--input={directory}/text.txt",
        f"--output_dir={directory}/data",
    ]
    prepare.prepare(
        flags.parse(PrepareConfig, [*arguments, "--tokenizer=char", "--splits=0.8,0.1,0.1", "--num_shards=2", *more])
    )
    return directory / "data"


@pytest.fixture(scope="module")
def text_data(tmp_path_factory):
    return text_dataset(tmp_path_factory.mktemp("text"))


def config_for(data, model_dir, *more: str) -> TrainConfig:
    quick = ["--units=24", "--batch_size=8", "--sequence_length=16", "--learning_rate=0.01", "--train_steps=30"]
    return quick_config(data, model_dir, quick, more)
