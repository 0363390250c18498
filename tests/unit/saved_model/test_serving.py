"""Export and predict: the SavedModel alone gives what the trained model gives."""

import csv
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from commands import call, start_anew
from series_runs import prepare_csv, train_config, write_series_csv

from trainer.cli import flags
from trainer.errors import EXIT_DATA, EXIT_DONE


def trained(data, directory, *options):
    config = train_config(data, directory / "model", *options)
    assert call("trainer.train", *flags.to_arguments(config)).returncode == EXIT_DONE
    done = call("trainer.export", f"--model_dir={config.model_dir}", f"--export_dir={directory / 'export'}")
    assert done.returncode == EXIT_DONE, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def exported(small_dataset, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    result = trained(small_dataset, directory)
    assert result["signatures"] == ["serving_default"] and result["max_difference"] < 1e-4
    return directory


ALONE = """
import sys, json
import numpy as np, tensorflow as tf
try:
    import trainer
    raise SystemExit("our package can be imported")
except ImportError:
    pass
model = tf.saved_model.load(sys.argv[1])
inputs = np.load(sys.argv[2])
forecast = model.signatures["serving_default"](**{k: tf.constant(inputs[k]) for k in inputs.files})["forecast"].numpy()
np.save(sys.argv[3], forecast)
"""


def test_the_export_alone_gives_what_predict_gives(exported, tmp_path):
    from trainer.tasks.forecast.data.csv_series import read_csv

    history = write_series_csv(tmp_path / "history.csv", 100, seed=7, missing=0.05)
    done = start_anew(
        "trainer.predict",
        f"--export_dir={exported}/export",
        f"--input={history}",
        f"--output={tmp_path}/f.csv",
        f"--plot={tmp_path}/f.png",
    )
    assert done.returncode == EXIT_DONE, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["predictions"], result["rows"], result["output"]) == (1, 6, f"{tmp_path}/f.csv")
    rows = list(csv.reader((tmp_path / "f.csv").open()))
    assert rows[0] == ["date", "s0", "s1"]
    assert [row[0] for row in rows[1:3]] == ["2021-01-05 04:00:00", "2021-01-05 05:00:00"]
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    series = read_csv(str(history))
    np.savez(tmp_path / "in.npz", values=series.values[None, -24:], times=series.times[None, -24:])
    command = [sys.executable, "-I", "-c", ALONE, f"{exported}/export/1", f"{tmp_path}/in.npz", f"{tmp_path}/out.npy"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "our package can be imported" in alone.stderr:  # installed in the environment that runs the tests: hide it
        hidden = ALONE.replace("import sys, json", "import sys, json\nsys.modules['trainer'] = None")
        alone = subprocess.run(
            [*command[:3], hidden, *command[4:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_allclose(
        np.array(rows[1:])[:, 1:].astype(np.float32), np.load(tmp_path / "out.npy")[0], rtol=1e-6
    )


def test_any_batch_size_and_raw_units(tf, exported, small_dataset):
    """The signature on raw windows equals the model on standardised ones, unstandardised by hand."""
    from trainer.training import run_files
    from trainer.training.restore import restored_model

    config, manifest = run_files.read(str(exported / "model"))
    task: Any
    task, model, _ = restored_model(config, manifest, config.model_dir, "best")
    function = tf.saved_model.load(str(exported / "export" / "1")).signatures["serving_default"]
    group = task.data.facts.groups[0]
    windows = task.data.windows("test")
    batch = next(iter(windows.in_order(windows.count)))
    count = windows.count // 2
    mean, std = np.array(group.mean), np.array(group.std)
    past = np.stack([batch["past"][:count, :, 0], batch["past"][count:, :, 0]], axis=-1) * std + mean
    observed = np.stack([batch["past_observed"][:count, :, 0], batch["past_observed"][count:, :, 0]], axis=-1)
    raw = np.where(observed > 0, past, np.nan).astype(np.float32)
    times = group.first_time + 3600 * (500 - 24 + np.arange(count)[:, None] + np.arange(24)).astype(np.int64)
    expected = model(batch).numpy()[..., 0]
    expected = np.stack([expected[:count], expected[count:]], axis=-1) * std + mean
    for size in (1, 7, count):
        served = function(values=tf.constant(raw[:size]), times=tf.constant(times[:size]))["forecast"].numpy()
        np.testing.assert_allclose(served, expected[:size], rtol=1e-4, atol=1e-4)


def test_versions_rise_and_need_only_core_ops(tf, exported):
    done = start_anew(
        "trainer.export", f"--model_dir={exported}/model", f"--export_dir={exported}/export", "--checkpoint=last"
    )
    assert json.loads(done.stdout.splitlines()[-1])["path"].endswith("/export/2")
    assert sorted(path.name for path in (exported / "export").iterdir()) == ["1", "2"]
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((exported / "export" / "2" / "saved_model.pb").read_bytes())
    ops = {
        node.op
        for meta in graph.meta_graphs
        for function in meta.graph_def.library.function
        for node in function.node_def
    }
    assert "MatMul" in ops and not any("Cudnn" in op or "PyFunc" in op for op in ops)


def test_several_groups_are_told_apart_by_file_name(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write_series_csv(tmp_path / f"{name}.csv", 200, seed=seed)
    data = prepare_csv(tmp_path / "*.csv", tmp_path / "data", "--splits=0.7,0.3")
    trained(data, tmp_path, "--series=multivariate")
    inputs = f"--input={tmp_path}/a.csv,{tmp_path}/b.csv"
    done = call(
        "trainer.predict", f"--export_dir={tmp_path}/export", inputs, f"--output={tmp_path}/f.csv", "--batch_size=1"
    )
    assert done.returncode == EXIT_DONE, done.stderr
    rows = list(csv.reader((tmp_path / "f.csv").open()))
    assert rows[0] == ["file", "date", "s0", "s1"] and len(rows) == 13 and rows[7][0].endswith("b.csv")
    stranger = write_series_csv(tmp_path / "c.csv", 100)
    done = call(
        "trainer.predict", f"--export_dir={tmp_path}/export", f"--input={stranger}", f"--output={tmp_path}/g.csv"
    )
    assert done.returncode == EXIT_DATA and "knows no group c" in done.stderr and not (tmp_path / "g.csv").exists()


@pytest.mark.parametrize(
    "rows, columns, said",
    [(10, 2, "has 10 rows, the model looks back 24"), (60, 1, "lacks the columns s1")],
)
def test_histories_that_do_not_fit(exported, tmp_path, rows, columns, said):
    history = write_series_csv(tmp_path / "h.csv", rows, columns)
    done = call(
        "trainer.predict", f"--export_dir={exported}/export", f"--input={history}", f"--output={tmp_path}/f.csv"
    )
    assert done.returncode == EXIT_DATA and said in done.stderr and "Traceback" not in done.stderr


def test_no_export_and_no_model(tmp_path):
    done = call("trainer.predict", f"--export_dir={tmp_path}", "--input=x.csv", f"--output={tmp_path}/f.csv")
    assert done.returncode == EXIT_DATA and "holds no exported model" in done.stderr
    done = call("trainer.export", f"--model_dir={tmp_path}", f"--export_dir={tmp_path}/e")
    assert done.returncode == EXIT_DATA and "holds no model" in done.stderr
