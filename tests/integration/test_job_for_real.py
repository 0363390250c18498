"""A rendered multi-worker Job is run: its own command, environment, user, volumes and names, and its own failure
policy.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kubelet import command_of, environment_of
from local_cluster import can_run, run_job

from launch.job import JobFlags, read
from launch.manifests import objects

if importlib.util.find_spec("trainer.training.cluster") is None:
    pytest.skip("this trainer has no clusters", allow_module_level=True)

from trainer.training.cluster import cluster_from

SOURCE = Path(__file__).parents[2]
STEPS = 700


def rendered(workers: int, *more: str, train: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    flags = ["--name=demo", "--namespace=team", "--image=trainer:0.1.0", f"--workers={workers}", *more]
    trainer = [
        "--data_dir=/data/dataset",
        "--model_dir=/data/model",
        "--batch_size=32",
        f"--train_steps={STEPS}",
        *train,
    ]
    return objects(read(JobFlags, [*flags, "--", *trainer])[1])


@pytest.mark.parametrize("overlay", ["auto", "gke-spot", "kueue", "jobset"])
def test_every_index_of_four_workers_with_eight_gpus_finds_the_same_cluster(overlay) -> None:
    made = rendered(4, "--gpus_per_worker=8", f"--overlay={overlay}")
    owner = made[-1]
    job = owner["spec"]["replicatedJobs"][0]["template"] if overlay == "jobset" else owner
    name, service = ("demo-workers-0", "demo") if overlay == "jobset" else ("demo", "demo")
    expected = tuple(f"{name}-{index}.{service}:12345" for index in range(4))
    template = job["spec"]["template"]
    for index in range(4):
        given = {"batch.kubernetes.io/job-completion-index": str(index), "batch.kubernetes.io/job-name": name}
        # what the JobSet controller labels its pods with
        given |= {"jobset.sigs.k8s.io/jobset-name": "demo", "jobset.sigs.k8s.io/replicatedjob-name": "workers"}
        given |= {"jobset.sigs.k8s.io/job-index": "0", "jobset.sigs.k8s.io/replicatedjob-replicas": "1"}
        metadata = {
            "name": f"{name}-{index}-x",
            "labels": {**template["metadata"]["labels"], **given},
            "annotations": given,
        }
        container = template["spec"]["containers"][0]
        environment = environment_of({"metadata": metadata, "spec": template["spec"]}, container, made)
        cluster = cluster_from({**environment, "JOB_COMPLETION_INDEX": str(index)})
        assert cluster is not None and (cluster.addresses, cluster.index) == (expected, index)
        assert command_of(container, environment) == [
            "python",
            "-m",
            "trainer.train",
            "--flagfile=/etc/trainer/trainer.flags",
        ]
    flags = next(each["data"] for each in made if each["kind"] == "ConfigMap")["trainer.flags"].splitlines()
    assert "--data_dir=/data/dataset" in flags and f"--train_steps={STEPS}" in flags


@pytest.fixture(scope="module")
def refusal() -> str:
    return can_run()


def volume(dataset: Path, directory: Path) -> Path:
    """A claim with the dataset on it, owned by the pods' user."""
    shutil.copytree(dataset, directory / "dataset")
    for place, _, files in os.walk(directory):
        for path in [Path(place), *(Path(place) / name for name in files)]:
            os.chown(path, 10001, 10001)
    return directory


def weights(tf: Any, model_dir: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE")]
    values = {name: reader.get_tensor(name) for name in names}
    return {name: value for name, value in values.items() if getattr(value, "dtype", np.dtype(object)).kind in "fiu"}


def losses(model_dir: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_two_workers_killed_and_drained_end_with_the_same_weights(tf, small_dataset, tmp_path, refusal) -> None:
    if refusal:
        pytest.skip(refusal)
    small = (
        "--lookback=24",
        "--horizon=6",
        "--units=8",
        "--evaluate_every_steps=350",
        "--save_every_steps=50",
        "--dropout=0.2",
    )
    made = rendered(2, "--retries=1", train=small)
    found, directories = {}, {}
    story = [{"index": 1, "at_step": 100, "how": "SIGKILL"}, {"index": 0, "at_step": 250, "how": "drain"}]
    for name, events in (("quiet", []), ("troubled", story)):
        directories[name] = volume(small_dataset, tmp_path / name / "claim")
        found[name] = run_job(made, {"trainer": directories[name]}, tmp_path / name / "node", events, 420, SOURCE)
        logs = "\n".join(
            path.read_text(errors="replace")[-3000:] for path in sorted((tmp_path / name / "node").glob("*.log"))
        )
        assert (found[name]["condition"], found[name]["reason"]) == ("Complete", "SuccessPolicy"), (
            f"{found[name]}\n{logs}"
        )
    actions = [
        (event["index"], event["exit_code"], event["action"])
        for event in found["troubled"]["history"]
        if "action" in event
    ]
    # the killed worker counts against --retries=1; its peer, and both when one is drained, leave with 75 and are
    # ignored
    assert len(actions) >= 5, json.dumps(found["troubled"]["history"])
    assert sorted(actions[:2]) == [(0, 75, "Ignore"), (1, 137, "Count")]
    assert sorted(actions[2:4]) == [(0, 75, "Ignore"), (1, 75, "Ignore")]
    assert (0, 0, "Succeeded") in actions[4:]
    quiet, troubled = (weights(tf, directory / "model") for directory in directories.values())
    assert quiet.keys() == troubled.keys() and any(value.ndim == 2 for value in quiet.values())
    # the training time is kept in the checkpoint too, and is all that may differ
    different = [
        name for name, value in quiet.items() if not np.array_equal(value, troubled[name]) and "seconds" not in name
    ]
    assert different == []
    assert losses(directories["quiet"] / "model") == losses(directories["troubled"] / "model")
    assert len(losses(directories["quiet"] / "model")) == STEPS
