"""Every command with every path in a bucket, through a fault every 20th request, gives what it gives locally."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bucket_server import BUCKET, BucketServer, bucket_server
from runs import losses, weights
from series_runs import train_config, write_series_csv

from trainer import inspect, prepare
from trainer.cli import flags
from trainer.config.inspect import InspectConfig
from trainer.errors import RestartError
from trainer.storage import bucket
from trainer.storage.addresses import Address
from trainer.tasks.configurations import PrepareConfig

STEPS = ["--train_steps=40", "--save_every_steps=10", "--evaluate_every_steps=20", "--keep_checkpoints=2"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A bucket whose every 20th answer is a 503, or is cut off half-way."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with bucket_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        server.fault = lambda number, method, path: None if number % 20 else "503" if number % 40 else "cut"
        yield server


def fetched(address: str, directory: Path) -> Path:
    """A copy of everything at an address."""
    found = bucket.list_objects(Address.of(address))
    bucket.download_all([(one, directory / one.address.name) for one in found])
    return directory / address.removeprefix(f"gs://{BUCKET}/")


def run_all(tf, place: str, csv: str, stopped: bool) -> dict[str, dict]:
    """Every command with its paths in `place`; training is stopped after its first steps and started again where
    `stopped`.
    """
    from trainer import evaluate, export, predict
    from trainer.tasks.configurations import EvaluateConfig, ExportConfig, PredictConfig
    from trainer.training.preemption import Preemption
    from trainer.training.start import start

    data, model, exported = f"{place}/data", f"{place}/model", f"{place}/export"
    source = [
        "--task=forecast",
        "--source=csv",
        f"--input={csv}",
        "--splits=400,100,100",
        "--num_shards=3",
        "--num_processes=1",
    ]
    results = {"prepare": prepare.prepare(flags.parse(PrepareConfig, [*source, f"--output_dir={data}"]))}
    results["inspect"] = inspect.main(flags.parse(InspectConfig, [f"--data_dir={data}", "--verify"]))
    config = train_config(data, model, *STEPS)
    if stopped:
        preemption = Preemption()
        preemption.requested = True  # as by SIGTERM: the run saves, publishes and leaves after its first inner loop
        with pytest.raises(RestartError, match="step 1 is saved"):
            start(config, preemption)
    results["train"] = start(config, Preemption())
    both = [f"--model_dir={model}", f"--data_dir={data}", f"--report_dir={place}/report"]
    results["evaluate"] = evaluate.main(flags.parse(EvaluateConfig, both))
    results["export"] = export.main(flags.parse(ExportConfig, [f"--model_dir={model}", f"--export_dir={exported}"]))
    asked = [
        f"--export_dir={exported}",
        f"--input={csv}",
        f"--output={place}/forecast.csv",
        f"--plot={place}/forecast.png",
    ]
    results["predict"] = predict.main(flags.parse(PredictConfig, asked))
    return results


def test_all_commands_in_a_bucket(tf, server: BucketServer, tmp_path, capsys):
    csv = write_series_csv(tmp_path / "small.csv", 600, missing=0.02)
    bucket.upload_all([(csv, Address(BUCKET, "in/small.csv"))])
    bucket.write(Address(BUCKET, "run/export/1/saved_model.pb"), b"an older version")
    local = run_all(tf, str(tmp_path / "local"), str(csv), stopped=False)
    cloud = run_all(tf, "gs://bucket/run", "gs://bucket/in/small.csv", stopped=True)
    assert server.faults >= len(server.requests) // 20 > 3

    assert cloud["train"]["resumed_from"] == 1
    for command, keys in {
        "prepare": ("records", "bytes", "fingerprint"),
        "inspect": ("verified_shards", "splits", "examples"),
        "train": ("step", "loss", "best"),
        "evaluate": ("count", "metrics", "baselines"),
        "export": ("signatures", "max_difference"),
        "predict": ("predictions", "rows"),
    }.items():
        for key in keys:
            assert cloud[command][key] == local[command][key], (command, key)
    assert (
        cloud["prepare"]["output_dir"] == "gs://bucket/run/data"
        and cloud["inspect"]["data_dir"] == "gs://bucket/run/data"
    )
    assert cloud["export"]["path"] == cloud["predict"]["model"] == "gs://bucket/run/export/2"
    assert cloud["predict"]["output"] == "gs://bucket/run/forecast.csv"

    copy = fetched("gs://bucket/run", tmp_path / "copy")
    assert (copy / "forecast.csv").read_bytes() == (tmp_path / "local/forecast.csv").read_bytes()
    assert (copy / "forecast.png").stat().st_size > 1000
    assert losses(copy / "model") == losses(tmp_path / "local/model")  # every bit of every step's loss
    assert weights(tf, copy / "model") == weights(tf, tmp_path / "local/model")
    state = tf.train.get_checkpoint_state(str(copy / "model/checkpoints"))
    assert [Path(path).name for path in state.all_model_checkpoint_paths] == ["ckpt-30", "ckpt-40"]
    assert {path.name for path in (copy / "model/checkpoints").glob("*.index")} == {"ckpt-30.index", "ckpt-40.index"}
    assert len(list((copy / "model").glob("events.out.*"))) == 2  # one of each start
    metrics = json.loads((copy / "report/evaluation.json").read_text())["metrics"]
    assert {name: value for name, value in metrics.items() if isinstance(value, float)} == local["evaluate"]["metrics"]
    told = (copy / "model/flags.txt").read_text()
    assert "--data_dir=gs://bucket/run/data\n" in told and "--model_dir=gs://bucket/run/model\n" in told
    tree = json.loads((copy / "model/config.json").read_text())["config"]
    assert tree["data_dir"] == "gs://bucket/run/data"
    works = tmp_path / "cache/recurrent-trainer/work"
    assert not list(works.glob("[!.]*"))  # nothing is left on this host but the cache
    assert np.isfinite(local["train"]["loss"])
