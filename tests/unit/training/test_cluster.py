"""The cluster as the environment describes it, and every way in which it can be wrong."""

import json

import pytest

from trainer.errors import ConfigError
from trainer.training.cluster import Cluster, cluster_for, cluster_from, expand_hosts, host_name


def tf_config(task, **cluster) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


WORKER_1 = {"type": "worker", "index": 1}
JOB = {
    "JOB_COMPLETION_INDEX": "1",
    "TRAINER_JOB_NAME": "trip",
    "TRAINER_SERVICE": "trip",
    "TRAINER_WORKERS": "3",
}
JOBSET = {"JOB_COMPLETION_INDEX": "2", "JOBSET_NAME": "js", "REPLICATED_JOB_NAME": "workers", "TRAINER_WORKERS": "3"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "5", "SLURM_JOB_NODELIST": "node[09-10],head"}


@pytest.mark.parametrize(
    "environ, addresses, index",
    [
        (tf_config(WORKER_1, worker=["a:1", "b:2"]), ("a:1", "b:2"), 1),
        (tf_config(WORKER_1, chief=["c:9"], worker=["a:1", "b:2"]), ("c:9", "a:1", "b:2"), 2),
        (tf_config({"type": "chief", "index": "0"}, chief=["c:9"], worker=["a:1"]), ("c:9", "a:1"), 0),
        (JOB, ("trip-0.trip:12345", "trip-1.trip:12345", "trip-2.trip:12345"), 1),
        ({**JOB, "TRAINER_PORT": "7"}, ("trip-0.trip:7", "trip-1.trip:7", "trip-2.trip:7"), 1),
        (JOBSET, ("js-workers-0-0.js:12345", "js-workers-0-1.js:12345", "js-workers-0-2.js:12345"), 2),
        (SLURM, ("node09:12345", "node09:12346", "node10:12345", "node10:12346", "head:12345"), 3),
        (
            {**SLURM, "SLURM_TASKS_PER_NODE": "1(x2),3"},
            ("node09:12345", "node10:12345", "head:12345", "head:12346", "head:12347"),
            3,
        ),
        (
            {**SLURM, "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_NTASKS_PER_NODE": "1"},
            ("node09:12345", "node10:12345"),
            1,
        ),
        (
            {**SLURM, "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "x[1-2]"},
            ("x1:12345", "x2:12345"),
            0,
        ),
        # the first that is there decides
        ({**tf_config(WORKER_1, worker=["a:1", "b:2"]), **JOB, **SLURM}, ("a:1", "b:2"), 1),
        ({**JOB, **SLURM}, ("trip-0.trip:12345", "trip-1.trip:12345", "trip-2.trip:12345"), 1),
    ],
)
def test_clusters(environ, addresses, index):
    assert cluster_from(environ) == Cluster(addresses, index)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        tf_config({"type": "worker", "index": 0}, worker=["a:1"]),
        tf_config({"type": "chief", "index": 0}, chief=["a:1"]),
        {**JOB, "JOB_COMPLETION_INDEX": "0", "TRAINER_WORKERS": "1"},
        {**JOBSET, "JOB_COMPLETION_INDEX": "0", "TRAINER_WORKERS": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "a"},
    ],
)
def test_one_host(environ):
    assert cluster_from(environ) is None


@pytest.mark.parametrize(
    "environ, said",
    [
        (tf_config(WORKER_1, worker=["a:1", "b:2", "a:1"]), ["TF_CONFIG gives workers 0 and 2 one address, a:1"]),
        (
            tf_config({"type": "worker", "index": 2}, worker=["a:1", "b:2"]),
            ["worker 2, but there are 2 workers; use an index from 0 to 1"],
        ),
        (tf_config(WORKER_1, worker=["a:1"]), ["worker 1, but there are 1 workers"]),
        (tf_config(WORKER_1, worker=["a", "b:x", "c:70000"]), ["'a', which is not host:port", "'b:x'", "'c:70000'"]),
        (tf_config({}, worker=["a:1", "b:2"]), ["task type None", "task index None"]),
        (tf_config(WORKER_1, worker=["a:1"], ps=["b:2"], evaluator=["c:1"]), ["'evaluator'", "'ps'"]),
        (tf_config({"type": "chief", "index": 0}, worker=["a:1", "b:2"]), ["task type 'chief'"]),
        ({"TF_CONFIG": "{nonsense"}, ["TF_CONFIG is not JSON"]),
        ({"TF_CONFIG": "[1]"}, ["TF_CONFIG is not a JSON object"]),
        (
            {**JOB, "JOB_COMPLETION_INDEX": "3"},
            ["JOB_COMPLETION_INDEX makes this process worker 3, but there are 3 workers"],
        ),
        (
            {**JOB, "TRAINER_WORKERS": "many", "TRAINER_PORT": "x"},
            ["TRAINER_WORKERS=many is not a whole number", "TRAINER_PORT=x"],
        ),
        (
            {"JOB_COMPLETION_INDEX": "0", "TRAINER_WORKERS": "2"},
            ["TRAINER_JOB_NAME is missing", "TRAINER_SERVICE is missing"],
        ),
        ({**JOB, "TRAINER_WORKERS": "0"}, ["TRAINER_WORKERS=0 is below 1"]),
        ({**SLURM, "SLURM_JOB_NODELIST": ""}, ["SLURM_JOB_NODELIST names no nodes"]),
        ({**SLURM, "SLURM_NTASKS_PER_NODE": "1"}, ["SLURM_NTASKS=5 does not fit 3 nodes with 3 tasks"]),
    ],
)
def test_wrong_descriptions_are_told_with_the_numbers(environ, said):
    with pytest.raises(ConfigError) as caught:
        cluster_from(environ)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(said), lines
    for line, part in zip(lines, said):
        assert part in line and "; " in line and not line.startswith("--")


def test_host_names_of_a_job():
    assert host_name("trip", 4, "svc") == "trip-4.svc"


@pytest.mark.parametrize(
    "text, names",
    [
        ("a", ["a"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10,7],x-1,m[2]", ["n08", "n09", "n10", "n7", "x-1", "m2"]),
        ("r[0-1]n[1,3].lan", ["r0n1.lan", "r0n3.lan", "r1n1.lan", "r1n3.lan"]),
        ("", []),
    ],
)
def test_slurm_host_lists(text, names):
    assert list(expand_hosts(text)) == names


def test_a_batch_of_sentences_is_split_evenly_and_one_of_tokens_by_its_rows():
    with pytest.raises(ConfigError, match="--batch_size=64 cannot be split over 3 workers; use 63 or 66"):
        cluster_for("auto", 64, JOB)
    assert len(cluster_for("auto", None, JOB).addresses) == 3


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        (
            {"TF_CONFIG": json.dumps({"sparseCluster": {"worker": {"1": "a:1"}}, "task": WORKER_1})},
            "TF_CONFIG has a sparseCluster and no cluster, so the other workers are unknown; list all workers",
        ),
        ({"TF_CONFIG": json.dumps({"task": WORKER_1})}, "TF_CONFIG has a task with the index 1 and no cluster"),
        (
            {"JOB_COMPLETION_INDEX": "0"},
            "JOB_COMPLETION_INDEX=0 is that of an Indexed .* TRAINER_WORKERS is missing",
        ),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "WORLD_SIZE=2 tells of 2 workers of torchrun, .*; set TF_CONFIG"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_SIZE=4 tells of 4 workers of Open MPI"),
        ({"PMI_SIZE": "4", "PMI_RANK": "1"}, "PMI_SIZE=4 tells of 4 workers of MPI"),
        (
            {"SLURM_NTASKS": "2"},
            "SLURM_NTASKS=2 .*, but SLURM_PROCID.* is missing; start with srun",
        ),
    ],
)
def test_what_looks_like_a_cluster_and_is_not_read_is_refused(environ, text):
    """Each worker would take itself for the only one, and all would write one model directory."""
    for strategy in ("auto", "multi_worker"):
        with pytest.raises(ConfigError, match=text):
            cluster_for(strategy, 32, environ)
    for strategy in ("one_device", "mirrored"):
        assert cluster_for(strategy, 32, environ) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'},
        {"WORLD_SIZE": "1"},
        {"SLURM_NTASKS": "1"},
    ],
)
def test_one_worker_is_alone(environ):
    assert cluster_for("auto", 32, environ) is None


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"TF_CONFIG": '{"cluster": ["a:1"], "task": {}}'}, "has a cluster that is not a JSON object"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, "task": "worker"}'},
            "has a task that is not",
        ),
        (
            {"TF_CONFIG": '{"cluster": {"worker": null}, "task": {}}'},
            "lists under worker what is not a list",
        ),
        (
            {"TF_CONFIG": '{"cluster": {"worker": "a:1"}, "task": {}}'},
            "lists under worker what is not a list",
        ),
        (
            {"TF_CONFIG": '{"cluster": {"worker": [["a"]]}, "task": {}}'},
            "lists under worker what is not a list",
        ),
        ({**SLURM, "SLURM_JOB_NODELIST": "node[a-b]"}, r"SLURM_JOB_NODELIST=node\[a-b\] cannot be read"),
        ({**SLURM, "SLURM_JOB_NODELIST": "node[]"}, r"SLURM_JOB_NODELIST=node\[\] cannot be read"),
    ],
)
def test_descriptions_of_another_shape_are_told(environ, text):
    with pytest.raises(ConfigError, match=text):
        cluster_from(environ)
