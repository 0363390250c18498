"""Sequence to sequence as the loop runs it: losses, counts, replicas, validation by translations, resume,
evaluation.
"""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from pair_runs import PAIRS, config_for
from runs import ONE, TWO, losses, losses_of, start_and_stop, weights

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DONE, EXIT_RESTART
from trainer.tasks.datasets import read


@pytest.mark.parametrize(
    "options",
    [
        ["--label_smoothing=0.1"],
        ["--batch_unit=tokens", "--batch_size=200", "--cell=lstm", "--num_layers=2", "--residual"],
        ["--input_feeding", "--attention=bahdanau_normalized", "--train_steps=20"],
        ["--jit_compile", "--tie_weights"],
    ],
)
def test_two_replicas_give_the_losses_of_one_device(tf, pair_data, options):
    config = config_for(pair_data, "unused", *options)
    steps = 40 if "--jit_compile" not in options else 3  # XLA compiles a program for each shape
    alone, *_ = losses_of(tf, config, ONE, steps)
    shared, *_ = losses_of(tf, config, TWO, steps)
    np.testing.assert_allclose(shared, alone, rtol=2e-4)
    assert steps == 3 or alone[-5:].mean() < 0.9 * alone[:5].mean(), "nothing was learned"


@pytest.mark.parametrize("options", [["--batch_size=48"], ["--batch_unit=tokens", "--batch_size=250"]])
def test_an_epoch_reads_every_pair_once_and_counts_no_padding(tf, pair_data, options):
    from trainer.tasks.registry import task_for
    from trainer.training.loop import RunLength

    config = config_for(pair_data, "unused", *options, "--epochs=1", "--train_steps=")
    task: Any = task_for(config, read(config.data_dir))
    plan = RunLength.of(config, task.data.examples_per_epoch, task.data.steps_for)
    batches = task.data.training_batches(0, None).take(plan.total_steps)
    read_by = np.sum([[float(part) for part in task.data.read_by(batch)] for batch in batches], axis=0)
    counts = task.data.facts.splits["train"]
    assert plan.total_steps == plan.evaluate_every == task.data.batches("train").steps_per_epoch
    assert list(read_by) == [PAIRS, counts.source_tokens + counts.target_tokens + 2 * PAIRS]
    assert task.objective.nominal_weight == pytest.approx((counts.target_tokens + PAIRS) / plan.total_steps)


@pytest.mark.parametrize("jit", [[], ["--jit_compile"]])
def test_the_loss_is_the_mean_over_target_tokens(tf, pair_data, jit):
    """By hand from the logits, token by token, with label smoothing; padding and rows that only fill count nothing."""
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.strategy import make_strategy

    config = config_for(pair_data, "unused", "--label_smoothing=0.2", "--batch_size=7", *jit)
    first, *_ = losses_of(tf, config, ONE, 1)
    stepper = build(task_for(config, read(config.data_dir)), make_strategy(config.device, ONE))
    batch = next(iter(stepper.task.data.training_batches(0, None)))
    target = batch["target"].numpy()
    inputs = np.concatenate([np.full([len(target), 1], 2), target[:, :-1]], axis=1)  # 2 starts a text
    logits = stepper.model(batch["source"], batch["source_lengths"], tf.constant(inputs)).numpy().astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    each = [
        -0.8 * log_probabilities[row, t, target[row, t]] - 0.2 * log_probabilities[row, t].mean()
        for row, length in enumerate(batch["target_lengths"].numpy())
        for t in range(length)
    ]
    assert first[0] == pytest.approx(np.mean(each), rel=1e-5)


def test_validation_does_not_depend_on_the_batch(tf, pair_data):
    *_, stepper = losses_of(tf, config_for(pair_data, "unused"), TWO, 2)
    scores = [stepper.validate(stepper.task.data.evaluation_batches("validation", size), size) for size in (4, 30, 64)]
    assert {"nats_per_token", "token_accuracy"} == set(scores[0])
    for score in scores[1:]:
        assert score == pytest.approx(scores[0], rel=1e-5)


def test_batches_that_replicas_cannot_share(pair_data, tmp_path):
    options = ["--devices_per_worker=3", "--batch_unit=tokens", "--batch_size=200"]
    done = call("trainer.train", *flags.to_arguments(config_for(pair_data, tmp_path / "m", *options)))
    assert done.returncode == EXIT_CONFIG
    assert "--batch_unit=tokens gives batches of" in done.stderr and "cannot be split over 3 replicas" in done.stderr


def test_trained_stopped_resumed_and_evaluated(tf, pair_data, tmp_path):
    """A stopped run gives the bytes of one that was not; the best checkpoint is that of the best exact match."""
    options = [
        "--train_steps=240",
        "--save_every_steps=30",
        "--evaluate_every_steps=60",
        "--dropout=0.1",
        "--best_metric=exact_match",
    ]
    options += ["--units=32", "--label_smoothing=0.05"]
    straight, broken = (config_for(pair_data, tmp_path / name, *options) for name in ("straight", "broken"))
    done = call("trainer.train", *flags.to_arguments(straight))
    assert done.returncode == EXIT_DONE, done.stderr
    assert start_and_stop(broken, signal.SIGTERM, after_step=40) == EXIT_RESTART
    again = call("trainer.train", *flags.to_arguments(broken))
    assert again.returncode == EXIT_DONE, again.stderr
    result, first = (json.loads(run.stdout.splitlines()[-1]) for run in (again, done))
    assert 40 <= result["resumed_from"] < 240 and result["best"] == first["best"]
    assert losses(straight.model_dir) == losses(broken.model_dir)
    assert weights(tf, broken.model_dir) == weights(tf, straight.model_dir)
    lines = [json.loads(line) for line in (Path(straight.model_dir) / "metrics.jsonl").read_text().splitlines()]
    found = [line["validation_exact_match"] for line in lines if "validation_exact_match" in line]
    assert len(found) == 4 and first["best"]["score"] == max(found) > 0.5, found
    model = f"--model_dir={straight.model_dir}"
    scores = call(
        "trainer.evaluate",
        model,
        f"--data_dir={pair_data}",
        "--split=validation",
        "--beam_size=1",
        "--length_penalty=0",
    )
    assert scores.returncode == EXIT_DONE, scores.stderr
    evaluated = json.loads(scores.stdout.splitlines()[-1])
    assert evaluated["count"] == 30 and evaluated["metrics"]["exact_match"] == max(found)
    assert {"bleu", "bleu_lower_tokens", "chrf", "exact_match", "token_accuracy"} <= set(evaluated["metrics"])
    assert evaluated["baselines"]["copy_source"]["exact_match"] == 0
    mean = call("trainer.evaluate", model, f"--data_dir={pair_data}", "--average_checkpoints=2")
    assert mean.returncode == EXIT_DONE, mean.stderr
