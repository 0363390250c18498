"""Small pairs of words, and runs on them."""

import numpy as np
import pytest
from runs import quick_config

from trainer.cli import flags
from trainer.tasks.configurations import PrepareConfig, TrainConfig

PAIRS = 300


@pytest.fixture(scope="module")
def pair_data(tmp_path_factory):
    """Words of one to nine letters, and the same in capitals, each letter twice if it is an `a`."""
    from trainer import prepare

    directory = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdef"), random.integers(1, 10))) for _ in range(PAIRS + 60)]
    for split, own in (("train", words[:PAIRS]), ("val", words[PAIRS : PAIRS + 30]), ("test", words[PAIRS + 30 :])):
        (directory / f"{split}.in").write_text("\n".join(own) + "\n")
        (directory / f"{split}.out").write_text("\n".join(word.upper().replace("A", "AA") for word in own) + "\n")
    inputs = [
        f"--{name}={directory}/{split}.in,{directory}/{split}.out"
        for name, split in (("input", "train"), ("test_input", "test"))
    ]
    inputs.append(f"--validation_input={directory}/val.in,{directory}/val.out")
    arguments = [
        "--task=seq2seq",
        "--source=pairs",
        *inputs,
        f"--output_dir={directory}/data",
        "--tokenizer=char",
        "--num_shards=2",
    ]
    prepare.prepare(flags.parse(PrepareConfig, arguments))
    return directory / "data"


def config_for(data, model_dir, *more: str) -> TrainConfig:
    quick = ["--units=16", "--cell=gru", "--batch_size=16", "--learning_rate=0.02", "--train_steps=30"]
    return quick_config(data, model_dir, quick, more)
