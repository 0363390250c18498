"""Translation from the export: strings in, translations out, the same as in memory, whatever the batch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DATA, EXIT_DONE, ConfigError, DataError
from trainer.tasks.configurations import ExportConfig, PredictConfig, PrepareConfig, TrainConfig

CONTRACT = {"batch_size": None}  # what translate reads of it
WORDS = {
    "red": "rouge",
    "dog": "chien",
    "sees": "voit",
    "a": "un",
    "the": "le",
    "cat": "chat",
    "small": "petit",
    "and": "et",
}


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [
        " ".join(random.choice(list(WORDS), random.choice([2, 3, 7]))) for _ in range(count)
    ]  # few shapes train faster


def prepared(directory: Path, *more: str) -> Path:
    from trainer import prepare

    source = sentences(500, 0)
    (directory / "s.txt").write_text("".join(line + "\n" for line in source))
    (directory / "t.txt").write_text("".join(" ".join(WORDS[word] for word in line.split()) + "\n" for line in source))
    arguments = [
        "--task=seq2seq",
        "--source=pairs",
        f"--input={directory}/s.txt,{directory}/t.txt",
        f"--output_dir={directory}/data",
    ]
    quick = ["--splits=0.9,0.05,0.05", "--num_shards=2", "--num_processes=1"]
    prepare.prepare(flags.parse(PrepareConfig, [*arguments, *quick, *more]))
    return directory / "data"


def trained(data: Path, model_dir: Path, steps: int, *more: str) -> TrainConfig:
    quick = ["--units=24", "--cell=gru", "--batch_size=32", "--learning_rate=0.02", f"--train_steps={steps}"]
    config = flags.parse(TrainConfig, [f"--data_dir={data}", f"--model_dir={model_dir}", *quick, *more])
    done = call("trainer.train", *flags.to_arguments(config))
    assert done.returncode == EXIT_DONE, done.stderr
    return config


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A model of a word-for-word language, half learned, exported with lists of three."""
    directory = tmp_path_factory.mktemp("translation")
    trained(prepared(directory, "--tokenizer=word"), directory / "model", 120)
    options = ["--n_best=3", "--beam_size=4", "--length_penalty=0.8", "--coverage_penalty=0.1"]
    done = call("trainer.export", f"--model_dir={directory}/model", f"--export_dir={directory}/export", *options)
    assert done.returncode == EXIT_DONE, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (
        result["signatures"] == ["attention", "greedy", "sample", "serving_default"] and result["max_difference"] < 1e-4
    )
    return directory


@pytest.fixture(scope="module")
def served(tf, exported):
    return tf.saved_model.load(str(exported / "export" / "1"))


def predict_config(exported: Path, *more: str) -> PredictConfig:
    given = {argument.split("=")[0] for argument in more}
    base = [] if "--input" in given else ["--input=-"]
    return flags.parse(PredictConfig, [f"--export_dir={exported}/export", *base, *more])


ALONE = """
import sys, json
sys.modules["trainer"] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
found = model.signatures["serving_default"](text=tf.constant(json.loads(sys.argv[2])))
print(json.dumps({name: [[v.decode() if isinstance(v, bytes) else float(v) for v in row] for row in value.numpy()]
                  for name, value in found.items()}))
"""


def test_a_process_without_our_code_gives_what_the_model_gives_in_memory(tf, exported):
    """Strings through the SavedModel against tokens through the restored model."""
    from trainer.tasks.seq2seq.beam_search import beam_search
    from trainer.tasks.seq2seq.decoding import length_limit
    from trainer.tasks.seq2seq.flags import SearchFlags
    from trainer.tasks.seq2seq.store import load_tokenizers
    from trainer.training import run_files
    from trainer.training.restore import restored_model

    texts = sentences(12, 1)
    command = [sys.executable, "-I", "-c", ALONE, f"{exported}/export/1", json.dumps(texts)]
    done = subprocess.run(command, cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    config, manifest = run_files.read(str(exported / "model"))
    model: Any = restored_model(config, manifest, config.model_dir, "best")[1]
    source, target = load_tokenizers(str(exported / "model"), manifest)
    options = ["--n_best=3", "--beam_size=4", "--length_penalty=0.8", "--coverage_penalty=0.1"]
    search = flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", *options]).of(SearchFlags)
    assert (search.beam_size, search.coverage_penalty) == (4, 0.1)
    for row, text in enumerate(texts):  # one by one: no padding, no neighbours
        ids = [*source.encode(text).tolist(), 3]
        lengths = tf.constant([len(ids)])
        best = beam_search(model, model.encode(tf.constant([ids]), lengths), length_limit(lengths), search, 3)
        expected = [target.decode(best.tokens[0, i, : best.lengths[0, i]].numpy()) for i in range(3)]
        assert found["translations"][row] == expected
        np.testing.assert_allclose(found["scores"][row], best.scores[0], atol=1e-5)
        np.testing.assert_allclose(found["log_probabilities"][row], best.log_probabilities[0], atol=1e-5)


def test_the_batch_size_changes_no_output(exported, served):
    from trainer.tasks.seq2seq.predict import translate

    texts = sentences(60, 2)
    found = [
        translate(served, CONTRACT, texts, predict_config(exported, "--n_best=3", f"--batch_size={size}"))
        for size in (1, 7, 64)
    ]
    for other in found[1:]:
        for mine, theirs in zip(found[0], other):
            assert [entry["text"] for entry in mine] == [entry["text"] for entry in theirs]
            np.testing.assert_allclose(
                [entry["score"] for entry in mine], [entry["score"] for entry in theirs], atol=1e-5
            )
    assert all(
        [entry["score"] for entry in each] == sorted((entry["score"] for entry in each), reverse=True)
        for each in found[0]
    )


def test_beam_is_never_worse_than_greedy_and_a_cold_sample_is_greedy(exported, served):
    from trainer.tasks.seq2seq.predict import translate

    texts = sentences(60, 3)
    beam, greedy, cold, warm, again = (
        [best[0] for best in translate(served, CONTRACT, texts, predict_config(exported, *options))]
        for options in (
            ["--decoding=beam"],
            ["--decoding=greedy"],
            ["--decoding=sample", "--temperature=0"],
            ["--decoding=sample", "--seed=5", "--batch_size=7"],
            ["--decoding=sample", "--seed=5"],
        )
    )
    assert all(one["score"] >= other["score"] - 1e-5 for one, other in zip(beam, greedy))
    assert [one["text"] for one in cold] == [one["text"] for one in greedy]
    assert [one["text"] for one in warm] == [one["text"] for one in again] != [one["text"] for one in greedy]


def test_predict_keeps_the_order_and_blank_lines(exported, tmp_path):
    texts = ["the small red dog sees a cat", "", "a cat", "  ", "the dog"]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    arguments = [f"--export_dir={exported}/export", f"--input={tmp_path}/in.txt", f"--output={tmp_path}/out.txt"]
    done = call("trainer.predict", *arguments)
    assert done.returncode == EXIT_DONE, done.stderr
    result = json.loads(done.stdout)
    assert (result["predictions"], result["output"]) == (5, f"{tmp_path}/out.txt") and result["seconds"] > 0
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert len(lines) == 6 and lines[1] == lines[3] == lines[5] == ""
    assert [len(line.split()) for line in lines[:5:2]] == [7, 2, 2], "word for word"
    piped = call(
        "trainer.predict", f"--export_dir={exported}/export", "--input=-", "--n_best=2", input="\n".join(texts)
    )
    assert piped.returncode == EXIT_DONE, piped.stderr
    rows = [json.loads(line) for line in piped.stdout.splitlines()[:-1]]
    assert [row["source"] for row in rows] == texts
    assert [row["translations"][0]["text"] for row in rows] == lines[:5] and len(rows[0]["translations"]) == 2


def test_attention_of_one_sentence(exported, served, tmp_path):
    from trainer.tasks.seq2seq.attention_plot import plot
    from trainer.tasks.seq2seq.predict import attend, translate

    config = predict_config(exported, f"--plot={tmp_path}/a.png")
    found = attend(served, CONTRACT, ["", "the small dog"], config)
    assert found.source == ["the", " small", " dog", "<end>"]
    assert "".join(found.target) == translate(served, CONTRACT, ["the small dog"], config)[0][0]["text"]
    assert found.weights.shape == (len(found.target), 4)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)
    plot(found, config.plot)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match=r"--plot=.* shows the attention of one sentence, --input holds 2"):
        attend(served, CONTRACT, ["the dog", "a cat"], config)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--n_best=4"], "--n_best=4 is above the 3 that the model was exported with; export it with --n_best=4"),
        (["--n_best=2", "--decoding=greedy"], "--n_best=2 has no effect with --decoding=greedy"),
        (["--plot=a.png", "--decoding=sample"], "--plot=a.png shows what beam search attended to"),
    ],
)
def test_flags_that_do_not_go_together(exported, options, said):
    from trainer.saved_model.loaded import read_contract
    from trainer.tasks.seq2seq.predict import check

    with pytest.raises(ConfigError, match=said.split(";")[0]):
        check(predict_config(exported, *options), read_contract(exported / "export" / "1"))


def test_bad_input_is_told(exported, tmp_path):
    from trainer.tasks.seq2seq.predict import read_sentences

    (tmp_path / "a.txt").write_bytes("the dog\ncaf\u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt line 2: is not UTF-8"):
        read_sentences(predict_config(exported, f"--input={tmp_path}/a.txt"))
    (tmp_path / "b.txt").write_text("one\u2028line\r\ntwo")
    assert read_sentences(predict_config(exported, f"--input={tmp_path}/b.txt")) == ["one\u2028line", "two"]
    (tmp_path / "c.txt").write_text("")
    done = call("trainer.predict", f"--export_dir={exported}/export", f"--input={tmp_path}/c.txt")
    assert done.returncode == EXIT_DATA and "holds no sentence" in done.stderr


def test_more_translations_than_the_beam_are_refused():
    done = call("trainer.export", "--model_dir=m", "--export_dir=e", "--n_best=6")
    assert done.returncode == EXIT_CONFIG and "--n_best=6 is above --beam_size=5" in done.stderr


def test_only_core_ops(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((exported / "export" / "1" / "saved_model.pb").read_bytes())
    ops = {
        node.op
        for meta in graph.meta_graphs
        for function in meta.graph_def.library.function
        for node in function.node_def
    }
    assert "TopKV2" in ops and not any(
        "Cudnn" in op or "PyFunc" in op or "Xla" in op or "Sentencepiece" in op for op in ops
    )


def test_subwords_end_to_end(tmp_path):
    """One sentencepiece vocabulary for both sides; its ops are none of TensorFlow's own."""
    data = prepared(tmp_path, "--tokenizer=sentencepiece", "--vocab_size=60", "--joint_vocabulary")
    trained(data, tmp_path / "model", 10, "--tie_weights")
    done = call("trainer.export", f"--model_dir={tmp_path}/model", f"--export_dir={tmp_path}/export")
    assert done.returncode == EXIT_DONE, done.stderr
    arguments = [f"--export_dir={tmp_path}/export", "--input=-"]
    done = call("trainer.predict", *arguments, input="the dog\n")
    assert done.returncode == EXIT_DONE, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["predictions"] == 1
