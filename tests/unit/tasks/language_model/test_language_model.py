"""Language models: batches in, the same losses on one device and two; resume, score and generation."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from commands import ROOT, call, start_anew
from runs import ONE, TWO, losses, losses_of, start_and_stop, weights
from text_runs import config_for, text_dataset

from trainer.cli import flags
from trainer.errors import EXIT_DATA, EXIT_DONE, EXIT_RESTART
from trainer.tasks.datasets import read


@pytest.fixture(scope="module")
def line_data(tmp_path_factory):
    return text_dataset(tmp_path_factory.mktemp("lines"), "--documents=lines")


@pytest.mark.parametrize(
    "options",
    [
        [],
        [
            "--cell=gru",
            "--num_layers=2",
            "--residual",
            "--layer_norm",
            "--tie_weights",
            "--embedding_size=12",
            "--ngram_order=3",
            "--optimizer=muon",
        ],
    ],
)
def test_two_replicas_give_the_losses_of_one_device(tf, text_data, options):
    config = config_for(text_data, "unused", *options)
    alone, *_ = losses_of(tf, config, ONE, 50)
    shared, *_ = losses_of(tf, config, TWO, 50)
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    assert alone[-5:].mean() < 0.8 * alone[:5].mean()


def test_the_state_is_carried_from_step_to_step(tf, text_data):
    """Two steps of 8 tokens give the outputs of one pass over 16."""
    from trainer.tasks.registry import task_for

    config = config_for(text_data, "unused", "--num_layers=2")
    task = task_for(config, read(config.data_dir))
    model = task.objective.build_model("float32")
    task.objective.build_variables(model)
    tokens = tf.constant(np.random.default_rng(0).integers(4, 20, (3, 16)), tf.int32)
    whole, last = model(tokens)
    first, state = model(tokens[:, :8], state=task.objective.initial_state(3))
    second, state = model(tokens[:, 8:], state=state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)
    for part, expected in zip(tf.nest.flatten(state), tf.nest.flatten(last)):
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_recurrent_dropout_is_noise_and_stays_out_of_inference(tf, text_data):
    config = config_for(text_data, "unused", "--recurrent_dropout=0.5")
    noisy, *_ = losses_of(tf, config, ONE, 5)
    plain, *_ = losses_of(tf, config_for(text_data, "unused"), ONE, 5)
    again, *_ = losses_of(tf, config, ONE, 5)
    np.testing.assert_array_equal(noisy, again)
    assert (noisy != plain).all()


def test_stopped_in_the_middle_of_an_epoch_and_restarted_gives_the_same_bytes(tf, text_data, tmp_path):
    import signal

    options = [
        "--train_steps=300",
        "--save_every_steps=70",
        "--evaluate_every_steps=150",
        "--dropout=0.2",
        "--recurrent_dropout=0.2",
    ]
    options.append("--units=64")
    straight, broken = (config_for(text_data, tmp_path / name, *options) for name in ("straight", "broken"))
    done = call("trainer.train", *flags.to_arguments(straight))
    assert done.returncode == EXIT_DONE, done.stderr
    assert start_and_stop(broken, signal.SIGTERM, after_step=40) == EXIT_RESTART
    again = call("trainer.train", *flags.to_arguments(broken))
    assert again.returncode == EXIT_DONE, again.stderr
    assert 40 <= json.loads(again.stdout.splitlines()[-1])["resumed_from"] < 300
    assert losses(straight.model_dir) == losses(broken.model_dir)
    found, expected = weights(tf, broken.model_dir), weights(tf, straight.model_dir)
    assert found == expected and any("carried" in name for name in found)


@pytest.fixture(scope="module")
def exported(text_data, line_data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("language")
    for name, data, options in (("stream", text_data, ["--ngram_order=3"]), ("lines", line_data, [])):
        config = config_for(data, directory / name / "model", "--train_steps=150", *options)
        assert call("trainer.train", *flags.to_arguments(config)).returncode == EXIT_DONE
        done = call("trainer.export", f"--model_dir={config.model_dir}", f"--export_dir={directory}/{name}/export")
        assert done.returncode == EXIT_DONE, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert (
            result["signatures"] == ["encode", "score", "serving_default", "step"] and result["max_difference"] < 1e-4
        )
    return directory


@pytest.mark.parametrize("kind", ["stream", "lines"])
def test_score_through_the_saved_model_equals_evaluate(tf, exported, text_data, line_data, kind):
    data = text_data if kind == "stream" else line_data
    done = start_anew(
        "trainer.evaluate", f"--model_dir={exported}/{kind}/model", f"--data_dir={data}", "--split=validation"
    )
    assert done.returncode == EXIT_DONE, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    metrics = result["metrics"]
    assert metrics["nats_per_char"] < result["baselines"]["unigram"]["nats_per_char"]
    assert metrics["perplexity"] == pytest.approx(np.exp(metrics["nats_per_token"]))
    assert {"windowed_nats_per_char", "bits_per_token", "bits_per_char"} <= set(metrics)
    score = tf.saved_model.load(f"{exported}/{kind}/export/1").signatures["score"]
    text = (data.parent / "text.txt").read_text()
    if kind == "stream":
        [part] = score(text=tf.constant([text[int(len(text) * 0.8) : int(len(text) * 0.9)]]))["nats_per_char"].numpy()
        assert part == pytest.approx(metrics["nats_per_char"], abs=1e-5)
    else:
        documents = text.splitlines()[240:270]
        outputs = score(text=tf.constant(documents))
        assert int(outputs["tokens"].numpy().sum()) == result["count"] == sum(len(d) + 1 for d in documents)


def test_generation_repeats_and_needs_no_neighbours(tf, exported):
    function = tf.saved_model.load(f"{exported}/stream/export/1").signatures["serving_default"]

    def complete(prompts, seeds, temperature=1.0):
        size = len(prompts)
        outputs = function(
            prompt=tf.constant(prompts),
            max_tokens=tf.fill([size], 30),
            temperature=tf.fill([size], temperature),
            top_k=tf.fill([size], 0),
            top_p=tf.fill([size], 1.0),
            seed=tf.constant(seeds, tf.int64),
        )
        return [text.decode() for text in outputs["completion"].numpy()]

    together = complete(["the ", "a much longer prompt than the others", ""], [1, 2, 3])
    assert together == complete(["the ", "a much longer prompt than the others", ""], [1, 2, 3])
    assert together[0] == complete(["the "], [1])[0] and together[2] == complete([""], [3])[0]
    assert complete(["the "], [4])[0] != together[0]
    assert complete(["the "], [1], 0.0) == complete(["the "], [9], 0.0)


def test_generation_in_the_graph_is_generation_by_hand(tf, exported):
    """Greedy completion against a Python loop that feeds the growing text to the trained model."""
    from trainer.tasks.language_model.token_store import load_tokenizer
    from trainer.training import run_files
    from trainer.training.restore import restored_model

    model_dir = str(exported / "stream" / "model")
    config, manifest = run_files.read(model_dir)
    _, model, _ = restored_model(config, manifest, model_dir, "best")
    tokenizer = load_tokenizer(model_dir, manifest)
    ids = tokenizer.encode("the dog ").tolist()
    for _ in range(12):
        ids.append(int(np.argmax(model(tf.constant([ids], tf.int32))[0].numpy()[0, -1])))
    done = call(
        "trainer.predict",
        f"--export_dir={exported}/stream/export",
        "--input=-",
        "--max_tokens=12",
        "--temperature=0",
        input="the dog \n",
    )
    assert done.returncode == EXIT_DONE, done.stderr
    line = json.loads(done.stdout.splitlines()[0])
    assert line["prompt"] + line["completion"] == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["stream", "lines"])
def test_a_terminal_shows_the_text_that_a_file_gets(exported, tmp_path, kind):
    arguments = [f"--export_dir={exported}/{kind}/export", "--input=-", "--max_tokens=12", "--seed=3"]
    done = call("trainer.predict", *arguments, f"--output={tmp_path}/o.jsonl", input="the dog \n")
    assert done.returncode == EXIT_DONE, done.stderr
    line = json.loads((tmp_path / "o.jsonl").read_text())
    shown, terminal = pty.openpty()
    streamed = subprocess.run(
        [sys.executable, "-m", "trainer.predict", *arguments],
        cwd=ROOT,
        input=b"the dog \n",
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    assert streamed.returncode == EXIT_DONE, streamed.stderr.decode()
    text = os.read(shown, 2**16).decode().replace("\r\n", "\n")
    assert text.startswith(line["prompt"] + line["completion"] + "\n{")


def test_documents_end_with_the_stop_token(exported, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat\nbirds\n")
    done = call(
        "trainer.predict",
        f"--export_dir={exported}/lines/export",
        f"--input={prompts}",
        f"--output={tmp_path}/o.jsonl",
        "--max_tokens=400",
    )
    assert done.returncode == EXIT_DONE, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["the cat", "birds"]
    assert all(0 < line["tokens"] < 400 and "\n" not in line["completion"] for line in lines)


def test_another_vocabulary_is_refused(exported, tmp_path):
    (tmp_path / "other.txt").write_text("zzz qqq xxx 123 " * 50)
    arguments = [
        "--task=language_model",
        "--source=text",
        f"--input={tmp_path}/other.txt",
        f"--output_dir={tmp_path}/data",
        "--tokenizer=char",
    ]
    assert start_anew("trainer.prepare", *arguments).returncode == EXIT_DONE
    done = call("trainer.evaluate", f"--model_dir={exported}/stream/model", f"--data_dir={tmp_path}/data")
    assert done.returncode == EXIT_DATA and "has another vocabulary" in done.stderr


def test_subwords_end_to_end(tmp_path):
    """The sentencepiece tokenizer's ops are none of TensorFlow's own: export and predict have to load them."""
    data = text_dataset(tmp_path, "--tokenizer=sentencepiece", "--vocab_size=60")
    config = config_for(data, tmp_path / "model", "--cell=gru")
    assert call("trainer.train", *flags.to_arguments(config)).returncode == EXIT_DONE
    done = call("trainer.export", f"--model_dir={config.model_dir}", f"--export_dir={tmp_path}/export")
    assert done.returncode == EXIT_DONE, done.stderr
    done = call(
        "trainer.predict",
        f"--export_dir={tmp_path}/export",
        "--input=-",
        "--max_tokens=8",
        "--temperature=0",
        input="the dog\n",
    )
    assert done.returncode == EXIT_DONE, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["tokens"] == 8


def test_a_short_validation_split_has_fewer_lanes(tf, tmp_path):
    from trainer.tasks.registry import task_for

    config = config_for(text_dataset(tmp_path, "--splits=0.99,0.005"), tmp_path / "model")
    task: Any = task_for(config, read(config.data_dir))
    assert task.data.evaluation_batch_size == 1
    [scored] = [sum(float(tf.reduce_sum(batch["weight"])) for batch in task.data.evaluation_batches("validation", 1))]
    assert scored == task.data.facts.splits["validation"].tokens - 1
