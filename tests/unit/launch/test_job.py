import dataclasses

import pytest

from launch import job as jobs
from launch import names
from launch.arguments import split
from launch.job import JobFlags
from trainer.cli import flags
from trainer.errors import ConfigError
from trainer.tasks.configurations import TrainConfig

OWN = {"name": "load", "image": "registry.example:5000/team/trainer:0.1.0", "workers": "4", "gpus_per_worker": "8"}
TRAINERS = {"data_dir": "/data/load", "model_dir": "/data/runs/load", "train_steps": "10", "batch_size": "64"}


def arguments(own=None, trainers=None):
    own, trainers = OWN | (own or {}), TRAINERS | (trainers or {})
    return [
        *(f"--{name}={value}" for name, value in own.items()),
        "--",
        *(f"--{name}={value}" for name, value in trainers.items()),
    ]


def read(own=None, trainers=None):
    return jobs.read(JobFlags, arguments(own, trainers))[1]


def refused(own=None, trainers=None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(own, trainers)
    assert caught.value.exit_code == 64
    return {problem.flag: str(problem) for problem in caught.value.problems}


def test_flags_of_both_sides():
    job = read({"secrets": "a,b", "spot": "true"}, {"units": "7", "data_dir": "/data/other"})
    assert (job.name, job.workers, job.gpus_per_worker, job.secrets, job.spot) == ("load", 4, 8, ("a", "b"), True)
    assert job.config == flags.parse(TrainConfig, [*job.trainer_flags])
    assert (job.config.model.units, job.config.data_dir, jobs.replicas(job)) == (7, "/data/other", 32)
    assert list(jobs.problems(job)) == []


def test_flag_files_are_read_here(tmp_path):
    (tmp_path / "run.flags").write_text("--units=9\n--dropout=0.25\n")
    job = jobs.read(JobFlags, [*arguments(), f"--flagfile={tmp_path}/run.flags"])[1]
    assert {"--units=9", "--dropout=0.25"} <= set(job.trainer_flags)
    assert not any("flagfile" in line for line in job.trainer_flags)


MISTAKES = [
    ({"name": "Load_1"}, {}, "name", "--name=Load_1 is not a name that a Service can have (RFC 1035)"),
    ({"name": "1st"}, {}, "name", "first a letter"),
    ({"name": "n" * 56}, {}, "name", "has 56 characters, too many for the names of its 4 pods; use 55 or fewer"),
    ({"name": "n" * 47, "overlay": "jobset"}, {}, "name", "use 45 or fewer"),
    ({"image": ""}, {}, "image", "is not an image reference"),
    ({"image": "Registry/Trainer:latest"}, {}, "image", "is not an image reference"),
    (
        {"gpus_per_worker": "0", "gpu_type": "nvidia-l4"},
        {},
        "gpu_type",
        "has no effect with --gpus_per_worker=0; use --gpus_per_worker=1",
    ),
    (
        {"overlay": "multi-cloud"},
        {},
        "overlay",
        "is not known; use one of auto, base, single-gpu, multi-gpu, multi-worker",
    ),
    (
        {"overlay": "single-gpu"},
        {},
        "overlay",
        "does not fit --workers=4 and --gpus_per_worker=8; use --workers=1 and --gpus_per_worker=1, or --overlay=auto",
    ),
    ({"workers": "3"}, {}, "batch_size", "--batch_size=64 cannot be split over 24 replicas; use 48 or 72"),
    (
        {},
        {"ensemble_size": "3"},
        "batch_size",
        "--batch_size=64 cannot be split over 96 parts (32 replicas with --ensemble_size=3); use 96",
    ),
    ({"workers": "0"}, {}, "workers", "is below 1"),
    ({}, {"strategy": "mirrored"}, "strategy", "uses one of --workers=4 only"),
    ({}, {"devices_per_worker": "4"}, "devices_per_worker", "does not use --gpus_per_worker=8; leave it out, or use 8"),
    ({"secrets": "No Name"}, {}, "secrets", "--secrets=No Name is not an RFC 1123 name"),
    ({"memory": "16GB"}, {}, "memory", "--memory=16GB is not a quantity above 0"),
    ({"memory": "1Gi", "shared_memory": "1024Mi"}, {}, "shared_memory", "leaves nothing of --memory=1Gi"),
    ({"volumes": "trainer"}, {}, "volumes", "give CLAIM:/path"),
    ({"volumes": "a:/data,b:/data"}, {}, "volumes", "mounts two claims at /data"),
    ({"volumes": "trainer:/data:ro"}, {}, "model_dir", "is on a volume that is mounted read-only"),
    (
        {},
        {"model_dir": "runs/load"},
        "model_dir",
        "is on none of --volumes, so it would be gone with the pods; use a path such as /data/runs/load, or",
    ),
    (
        {},
        {"data_dir": "load"},
        "data_dir",
        "is on none of --volumes, so pods do not have it; use a path such as /data/load",
    ),
    (
        {},
        {"data_dir": "s3://bucket/load"},
        "data_dir",
        "is not a path in the pods; give a gs:// address, or a path on one of --volumes",
    ),
    ({"node_selectors": "gpu"}, {}, "node_selectors", "give KEY=VALUE"),
    ({"tolerations": "dedicated=ml:Never"}, {}, "tolerations", "NoSchedule"),
    ({"deadline_seconds": "-1"}, {}, "deadline_seconds", "is below 0"),
    ({"command": "export"}, {}, "workers", "--workers=4 has no effect with --command=export"),
    (
        {"gpus_per_worker": "0"},
        {"kernel": "cudnn"},
        "kernel",
        "--kernel=cudnn needs GPUs, but --gpus_per_worker=0; use",
    ),
    ({}, {"lerning_rate": "1"}, "lerning_rate", "did you mean --learning_rate?"),
    ({"wrokers": "2"}, {}, "wrokers", "did you mean --workers?"),
]


@pytest.mark.parametrize(("own", "trainers", "flag", "told"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes(own, trainers, flag, told):
    if own.get("command") == "export":
        with pytest.raises(ConfigError) as caught:
            jobs.read(JobFlags, [*arguments(own)[:-5], "--", "--model_dir=/data/m", "--export_dir=/data/e"])
        found = {problem.flag: str(problem) for problem in caught.value.problems}
    else:
        found = refused(own, trainers)
    assert list(found) == [flag]
    assert told in found[flag]


def test_twelve_mistakes_at_once():
    own = {
        "name": "Load",
        "image": "",
        "workers": "3",
        "overlay": "nope",
        "gpu_type": "a b",
        "memory": "lots",
        "volumes": "trainer",
    }
    own |= {"secrets": "No Name", "tolerations": "x", "node_selectors": "y", "wrokers": "2"}
    found = refused(own, {"batch_size": "64", "units": "many"})
    expected = {
        "name",
        "image",
        "overlay",
        "gpu_type",
        "memory",
        "volumes",
        "secrets",
        "tolerations",
        "node_selectors",
        "wrokers",
    }
    assert set(found) == expected | {"batch_size", "units"}


def test_a_batch_of_tokens_is_not_split_by_number():
    assert jobs.read(JobFlags, arguments({"workers": "3"}, {"batch_unit": "tokens", "batch_size": "4000"}))


def test_missing_flags_of_both_sides_are_named():
    with pytest.raises(ConfigError) as caught:
        jobs.read(JobFlags, ["--workers=2", "--", "--train_steps=4"])
    assert [problem.flag for problem in caught.value.problems] == ["name", "image", "data_dir", "model_dir"]


def told(*arguments) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        jobs.read(JobFlags, arguments)
    return str(caught.value).splitlines()


def test_what_only_follows_from_a_mistake_is_left_out():
    own, trainers = ["--name=load", "--image=t:1"], ["--data_dir=/data/d", "--model_dir=/data/m", "--train_steps=4"]
    (line,) = told(*own, *trainers)
    assert line.startswith("-- is missing: the flags of launch.kubernetes stand before it")
    assert told(*own, "--command=evalute", "--", *trainers) == [
        "--command=evalute is not known; use one of train, prepare, evaluate, export; did you mean evaluate?"
    ]
    assert told(*own, "--data_dir=/data/d", "--", *trainers[1:]) == [
        "--data_dir=/data/d stands before --; give it behind --, with the trainer's flags"
    ]
    assert told("--image=t:1", "--command=export", "--", "--model_dir=/data/m", "--export_dir=/data/e") == [
        "--name is missing; give it: name of the run and of all that is made for it"
    ]
    prepare = ["--command=prepare", "--workers=4", "--", *PREPARE]
    assert told(*own, *prepare, "--num_tasks=four") == ["--num_tasks=four does not parse; give a whole number"]
    assert told(*own, "--gpus_per_worker=one", "--", *trainers, "--kernel=cudnn") == [
        "--gpus_per_worker=one does not parse; give a whole number"
    ]


def test_the_directory_of_tfds_is_a_path_and_its_splits_are_none():
    own = [
        "--name=p",
        "--image=t:1",
        "--command=prepare",
        "--",
        "--task=seq2seq",
        "--source=tfds",
        "--output_dir=/data/p",
    ]
    assert jobs.read(JobFlags, [*own, "--tfds_dir=/data/tfds/x/1.0.0", "--input=train[:90%]"])[1]
    assert told(*own, "--tfds_dir=tfds/x/1.0.0")[0].startswith(
        "--tfds_dir=tfds/x/1.0.0 is on none of --volumes, so pods do not have it"
    )


def test_layers_by_workers_and_gpus():
    def layers(workers, gpus):
        return read({"workers": str(workers), "gpus_per_worker": str(gpus)}).layers

    assert [layers(1, 0), layers(1, 1), layers(1, 8), layers(4, 8), layers(2, 0)] == [
        "base",
        "single-gpu",
        "multi-gpu",
        "multi-worker",
        "multi-worker",
    ]


def test_other_commands_of_the_trainer():
    own = ["--name=export", "--image=t:1", "--command=export"]
    job = jobs.read(JobFlags, [*own, "--", "--model_dir=/data/m", "--export_dir=/data/e"])[1]
    assert job.trainer_flags == ["--model_dir=/data/m", "--export_dir=/data/e"]
    with pytest.raises(ConfigError, match="--export_dir=out is on none of --volumes"):
        jobs.read(JobFlags, [*own, "--", "--model_dir=/data/m", "--export_dir=out"])
    prepare = [
        "--name=p",
        "--image=t:1",
        "--command=prepare",
        "--",
        "--task=forecast",
        "--source=csv",
        "--output_dir=/data/p",
    ]
    with pytest.raises(ConfigError, match=r"^--input=b.csv is on none of --volumes, so pods do not have it[^\n]*$"):
        jobs.read(JobFlags, [*prepare, "--input=/data/a/*.csv,b.csv"])
    read_only = jobs.read(
        JobFlags, [*own, "--volumes=m:/data:ro,e:/out", "--", "--model_dir=/data/m", "--export_dir=/out/e"]
    )[1]
    assert read_only.volumes == ("m:/data:ro", "e:/out")


PREPARE = ["--task=forecast", "--source=sample", "--output_dir=/data/p"]


@pytest.mark.parametrize(
    ("own", "trainers", "flag", "told"),
    [
        ([], ["--num_tasks=4"], "workers", "--workers=1 does not fit --num_tasks=4; use --workers=4 or --num_tasks=1"),
        (["--workers=2"], [], "workers", "--workers=2 does not fit --num_tasks=1; use --workers=1 or --num_tasks=2"),
        (
            ["--workers=4"],
            ["--num_tasks=4", "--finish"],
            "workers",
            "does not fit --num_tasks=4 --finish; use --workers=1",
        ),
        (
            ["--workers=2"],
            ["--num_tasks=2", "--task_index=0"],
            "task_index",
            "would be that of every pod; leave it out",
        ),
        (["--workers=2", "--overlay=jobset"], ["--num_tasks=2"], "overlay", "is for workers that train together"),
    ],
)
def test_mistakes_of_a_preparation(own, trainers, flag, told):
    with pytest.raises(ConfigError) as caught:
        jobs.read(JobFlags, ["--name=p", "--image=t:1", "--command=prepare", *own, "--", *PREPARE, *trainers])
    (problem,) = caught.value.problems
    assert problem.flag == flag and told in str(problem)


def test_a_preparation_in_several_pods():
    own = ["--name=p", "--image=t:1", "--command=prepare", "--workers=4", "--", *PREPARE, "--num_tasks=4"]
    job = jobs.read(JobFlags, own)[1]
    assert job.layers == "base" and "--num_tasks=4" in job.trainer_flags
    assert not any("num_tasks" in argument for argument in jobs.local_command(job))


def test_the_same_flags_reach_local_processes():
    job = read({"workers": "2", "gpus_per_worker": "0"}, {"units": "7", "devices_per_worker": "4"})
    own, trainers = split(jobs.local_command(job))
    assert own == ["-m", "launch.local", "--workers=2", "--devices_per_worker=4", "--restarts=3"]
    assert flags.parse(TrainConfig, [*trainers, "--devices_per_worker=4"]) == job.config
    local = pytest.importorskip("launch.local")
    assert local.parse(jobs.local_command(job)[2:])[1] == job.config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("2", 2),
        ("1.5Gi", 1.5 * 2**30),
        ("3G", 3e9),
        ("1k", 1e3),
        ("2Ei", 2**61),
        ("0", None),
        ("1gb", None),
    ],
)
def test_quantities(text, value):
    assert names.quantity(text) == value


@pytest.mark.parametrize(
    ("image", "right"),
    [
        ("trainer", True),
        ("gcr.io/my-project/trainer:v1.2", True),
        ("localhost:5000/trainer@sha256:" + "0" * 64, True),
        ("a__b/c.d-e", True),
        ("trainer:", False),
        ("trainer:v 1", False),
        ("team/Trainer", False),
        ("trainer@sha256:12", False),
    ],
)
def test_image_references(image, right):
    assert bool(names.IMAGE.fullmatch(image)) == right


def test_generated_names_are_labels():
    for workers in (1, 10, 11, 1000, 1001):
        for jobset in (False, True):
            name = "n" * names.longest_name(workers, jobset=jobset)
            pod = f"{name}{'-workers-0' if jobset else ''}-{workers - 1}-abcde"
            assert len(pod) == 63


def test_every_flag_is_told_in_words():
    assert all(spec.help for spec in flags.flag_specs(JobFlags))
    assert {field.name for field in dataclasses.fields(jobs.Job)} - {
        spec.name for spec in flags.flag_specs(JobFlags)
    } == {"config"}
