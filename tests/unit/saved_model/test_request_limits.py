"""What an export refuses, in whose words, and that limits and not requests decide on its buffers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import export_of
from series_runs import train_config, write_series_csv

from trainer import predict
from trainer.cli import flags
from trainer.errors import ConfigError, DataError
from trainer.tasks.configurations import PredictConfig, PrepareConfig, TrainConfig

LIMITS = [
    "--largest_max_tokens=40",
    "--largest_prompt_tokens=32",
    "--largest_text_tokens=50",
    "--largest_source_tokens=32",
]
SAMPLING = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}


@pytest.fixture(scope="module")
def datasets(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.prepare import prepare

    place = tmp_path_factory.mktemp("limits")
    for name in ("a.txt", "b.txt"):
        (place / name).write_text("To be or not to be, that is the question.\n" * 20)
    quick = ["--num_shards=1", "--num_processes=1", "--tokenizer=char"]
    text = ["--task=language_model", f"--output_dir={place}/text", "--source=text", f"--input={place}/a.txt"]
    pairs = ["--task=seq2seq", f"--output_dir={place}/pairs", "--source=pairs", f"--input={place}/a.txt,{place}/b.txt"]
    for arguments in (text, pairs):
        prepare(flags.parse(PrepareConfig, [*arguments, *quick]))
    return place


@pytest.fixture(scope="module")
def exported(datasets: Path, small_dataset: Path) -> dict[str, Path]:
    """Task -> its export with limits; the language model's takes 3 rows in `fixed`."""
    small = ["--units=8", "--train_steps=1", "--model_dir=m"]
    language, translation = (
        flags.parse(TrainConfig, [f"--data_dir={datasets / name}", *small]) for name in ("text", "pairs")
    )
    forecast = train_config(small_dataset, "m", "--output=quantiles")
    return {
        "language": export_of(language, datasets / "e1", *LIMITS),
        "fixed": export_of(language, datasets / "e2", "--batch_size=3", *LIMITS),
        "translation": export_of(translation, datasets / "e3", *LIMITS),
        "forecast": export_of(forecast, datasets / "e4", "--copula=none", "--largest_num_samples=20"),
    }


@pytest.fixture(scope="module")
def loaded(tf: Any, exported: dict[str, Path]) -> dict[str, Any]:
    return {name: tf.saved_model.load(str(path)) for name, path in exported.items()}


def asked(tf: Any, signature: Any, **values: Any) -> dict[str, np.ndarray]:
    """What a signature gives, without our own code; inputs in its types."""
    specs = signature.structured_input_signature[1]
    return {
        name: value.numpy()
        for name, value in signature(**{k: tf.constant(v, specs[k].dtype) for k, v in values.items()}).items()
    }


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"max_tokens": [0]}, r"max_tokens must be 1 or more; the request has\] \[0\]"),
        ({"max_tokens": [-5]}, r"max_tokens must be 1 or more; the request has\] \[-5\]"),
        ({"temperature": [np.nan]}, r"temperature must be a number, 0 or more; the request has\] \[nan\]"),
        ({"temperature": [np.inf]}, r"temperature must be a number, 0 or more; the request has\] \[inf\]"),
        ({"temperature": [-0.5]}, r"temperature must be a number, 0 or more; the request has\] \[-0.5\]"),
        ({"top_k": [-1]}, r"top_k must be 0 or more; the request has\] \[-1\]"),
        ({"top_p": [0.0]}, r"top_p must be above 0 and at most 1; the request has\] \[0\]"),
        ({"top_p": [1.5]}, r"top_p must be above 0 and at most 1; the request has\] \[1.5\]"),
        ({"top_p": [np.nan]}, r"top_p must be above 0 and at most 1; the request has\] \[nan\]"),
        ({"seed": [-3]}, r"seed must be 0 or more; the request has\] \[-3\]"),
        ({"prompt": ["To be " * 6]}, r"prompt must have at most 32 tokens; the request has\] \[36\]"),
    ],
)
def test_a_completion_refuses_nonsense(tf: Any, loaded: dict[str, Any], wrong: dict[str, Any], told: str) -> None:
    right = {"prompt": ["To be"], "max_tokens": [5], **{name: [value] for name, value in SAMPLING.items()}}
    complete = loaded["language"].signatures["serving_default"]
    assert asked(tf, complete, **right)["num_tokens"] <= 5
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        asked(tf, complete, **right | wrong)


def test_no_completion_is_longer_than_the_largest(tf: Any, loaded: dict[str, Any]) -> None:
    """A hundred million tokens cost what forty cost, and the neighbour gets what it asked for."""
    rest = {name: [value] * 2 for name, value in SAMPLING.items()}
    complete = loaded["language"].signatures["serving_default"]
    found = asked(tf, complete, prompt=["To be"] * 2, max_tokens=[100_000_000, 7], **rest)
    whole = asked(tf, complete, prompt=["To be"] * 2, max_tokens=[40, 7], **rest)
    assert found["completion"].tolist() == whole["completion"].tolist() and found["num_tokens"].max() <= 40
    assert found["num_tokens"][1] <= 7


@pytest.mark.parametrize(
    "kind, signature, inputs, told",
    [
        ("language", "score", {"text": ["x" * 51]}, "text must have at most 50 tokens; the request has] [51]"),
        ("language", "encode", {"text": ["x" * 51, "x"]}, "text must have at most 50 tokens; the request has] [51]"),
        (
            "translation",
            "serving_default",
            {"text": ["x" * 33]},
            "text must have at most 32 tokens; the request has] [33]",
        ),
        ("translation", "greedy", {"text": ["x", "x" * 33]}, "text must have at most 32 tokens; the request has] [33]"),
        ("translation", "attention", {"text": ["x" * 34]}, "text must have at most 32 tokens; the request has] [34]"),
        (
            "translation",
            "sample",
            {"text": ["x"], "temperature": [-1], "top_k": [0], "top_p": [1], "seed": [1]},
            "temperature must be a number, 0 or more; the request has] [-1]",
        ),
    ],
)
def test_texts_are_refused(
    tf: Any, loaded: dict[str, Any], kind: str, signature: str, inputs: dict[str, Any], told: str
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        asked(tf, loaded[kind].signatures[signature], **inputs)
    assert told in str(caught.value)


def test_a_step_refuses_what_is_no_token_and_no_state(tf: Any, loaded: dict[str, Any]) -> None:
    step = loaded["language"].signatures["step"]
    state = {
        name: np.zeros([1, *spec.shape[1:]])
        for name, spec in step.structured_input_signature[1].items()
        if "state" in name
    }
    right = {"token": [5], "position": [0], **{name: [value] for name, value in SAMPLING.items()}, **state}
    assert np.isfinite(asked(tf, step, **right)["logits"]).all()
    for wrong, told in (
        ({"token": [100_000]}, "token must be from 0 to "),
        ({"position": [-1]}, "position must be 0 or more"),
        ({"state_0": np.full_like(state["state_0"], np.nan)}, "state_0 must be numbers"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            asked(tf, step, **right | wrong)


@pytest.mark.parametrize(
    "wrong, told", [({"num_samples": 21}, "from 1 to 20"), ({"num_samples": 0}, "from 1 to 20"), ({"seed": -1}, "0 or")]
)
def test_paths_are_limited(tf: Any, loaded: dict[str, Any], wrong: dict[str, int], told: str) -> None:
    right = {
        "values": np.ones([2, 24, 2]),
        "times": np.arange(24) * 3600 + np.zeros([2, 1]),
        "num_samples": 20,
        "seed": 1,
    }
    sample = loaded["forecast"].signatures["sample"]
    assert asked(tf, sample, **right)["samples"].shape == (2, 20, 6, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{next(iter(wrong))} must be {told}"):
        asked(tf, sample, **right | wrong)


def test_the_contract_tells_the_limits(exported: dict[str, Path]) -> None:
    told = {name: json.loads((path / "assets.extra" / "contract.json").read_text()) for name, path in exported.items()}
    assert told["language"]["limits"] == {"max_tokens": 40, "prompt_tokens": 32, "text_tokens": 50}
    assert told["translation"]["limits"] == {"source_tokens": 32} and told["forecast"]["limits"] == {"num_samples": 20}
    assert told["language"]["batch_size"] is None and told["fixed"]["batch_size"] == 3


def predicted(export: Path, text: Path, *more: str) -> list[str]:
    output = text.with_suffix(".out")
    predict.main(flags.parse(PredictConfig, [f"--export_dir={export}", f"--input={text}", f"--output={output}", *more]))
    return output.read_text().splitlines()


def test_predict_refuses_before_it_runs(exported: dict[str, Path], tmp_path: Path) -> None:
    text, series = tmp_path / "in.txt", write_series_csv(tmp_path / "in.csv", 40)
    text.write_text("To be\n" + "To be " * 6 + "\n")
    with pytest.raises(ConfigError, match="--max_tokens=41 is above the 40 that the model was exported with"):
        predicted(exported["language"], text, "--max_tokens=41")
    with pytest.raises(DataError, match="prompt 2 has 36 tokens, the model was exported for at most 32"):
        predicted(exported["language"], text, "--max_tokens=5")
    with pytest.raises(DataError, match=r"line 2, .* \(text must have at most 32 tokens; the request has 36\)"):
        predicted(exported["translation"], text)
    with pytest.raises(ConfigError, match="--num_samples=21 is above the 20 that the model was exported with"):
        predicted(exported["forecast"], series, "--num_samples=21")
    assert not list(tmp_path.glob("*.out"))
    for wrong in (
        "--temperature=inf",
        "--temperature=nan",
        "--top_k=3000000000",
        "--seed=100000000000000",
        "--top_p=nan",
    ):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            flags.parse(PredictConfig, ["--export_dir=e", "--input=i", wrong])


def test_predict_fills_up_a_fixed_batch(
    tf: Any, exported: dict[str, Path], loaded: dict[str, Any], tmp_path: Path
) -> None:
    text = tmp_path / "in.txt"
    text.write_text("To be\nor\nnot\nto\n")  # 3 and 1
    assert predicted(exported["fixed"], text, "--max_tokens=9") == predicted(
        exported["language"], text, "--max_tokens=9"
    )
    with pytest.raises(
        ConfigError, match="--batch_size=2 differs from the batch of 3 that the model was exported with"
    ):
        predicted(exported["fixed"], text, "--max_tokens=9", "--batch_size=2")


def test_no_rows_give_no_rows(tf: Any, loaded: dict[str, Any]) -> None:
    """As a server may ask to learn shapes: every signature of every task."""
    for kind in ("language", "translation", "forecast"):
        for name, function in loaded[kind].signatures.items():
            inputs = {key: tf.zeros([0 if size is None else size for size in spec.shape], spec.dtype)
                      for key, spec in function.structured_input_signature[1].items()}  # fmt: skip
            if "num_samples" in inputs:
                inputs["num_samples"] += 1
            for key, value in function(**inputs).items():
                assert value.shape[0] == 0, f"{kind} {name} {key}"


@pytest.mark.parametrize("short", ["max_tokens", "temperature", "top_k", "top_p", "seed"])
def test_inputs_of_unequal_rows_are_refused(tf: Any, loaded: dict[str, Any], short: str) -> None:
    inputs: dict[str, Any] = {
        "prompt": ["a", "b"],
        "max_tokens": [2, 2],
        **{name: [value] * 2 for name, value in SAMPLING.items()},
    }
    inputs[short] = inputs[short][:1]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"{short} must have as many rows as the other inputs; .*1 and 2"
    ):
        asked(tf, loaded["language"].signatures["serving_default"], **inputs)


@pytest.mark.parametrize("text", ["01101" * 100, "a" * 300])
def test_a_model_of_a_tiny_vocabulary_is_exported(tf: Any, tmp_path: Path, text: str) -> None:
    from trainer.prepare import prepare

    (tmp_path / "t.txt").write_text(text)
    quick = ["--num_shards=1", "--num_processes=1", f"--input={tmp_path}/t.txt", f"--output_dir={tmp_path}/data"]
    prepare(flags.parse(PrepareConfig, ["--task=language_model", "--source=text", *quick]))
    config = flags.parse(TrainConfig, [f"--data_dir={tmp_path}/data", "--units=8", "--train_steps=1", "--model_dir=m"])
    path = export_of(config, tmp_path / "export")
    inputs = {"prompt": ["a0"], "max_tokens": [5], **{name: [value] for name, value in SAMPLING.items()}}
    [completion] = asked(tf, tf.saved_model.load(str(path)).signatures["serving_default"], **inputs)["completion"]
    assert set(completion.decode()) <= {*text, "\ufffd"}
