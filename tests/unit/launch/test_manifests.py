"""The objects of a job and all of k8s/: against the published schemas, the restricted Pod Security Standard, and what
workers need.
"""

import copy
import functools
import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

kubernetes_validate = pytest.importorskip("kubernetes_validate")
import jsonschema  # noqa: E402
import yaml  # noqa: E402
from crd_schemas import SCHEMAS  # noqa: E402
from pod_security import violations  # noqa: E402

from launch import job as jobs  # noqa: E402
from launch import kustomize, manifests  # noqa: E402
from trainer import prepare  # noqa: E402
from trainer.cli import flags  # noqa: E402
from trainer.tasks.configurations import ExportConfig, PrepareConfig, TrainConfig  # noqa: E402

# Reading a version's schemas takes longer than using them.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

FILES = kustomize.k8s_files()
VERSIONS = [version for version in kubernetes_validate.utils.all_versions() if int(version.split(".")[1]) >= 30]
FLAGS = ["--data_dir=/data/load", "--model_dir=/data/runs/load", "--train_steps=10", "--batch_size=64", "--units=7"]
EVERYTHING = [
    *(
        "--spot",
        "--queue=gpus",
        "--gpu_type=nvidia-h100-80gb",
        "--secrets=keys,more",
        "--image_pull_secrets=registry",
        "--retries=5",
    ),
    *(
        "--deadline_seconds=86400",
        "--priority_class=high",
        "--service_account=reader",
        "--namespace=ml",
        "--shared_memory=8Gi",
    ),
    *(
        "--node_selectors=pool=train,zone=a",
        "--tolerations=dedicated=ml:NoSchedule,old:NoExecute",
        "--cpus=16",
        "--memory=64Gi",
    ),
    *("--volumes=data:/data/load:ro,runs:/data/runs,runs:/backup",),
]
RUNS = {
    "one_cpu": [],
    "one_gpu": ["--gpus_per_worker=1"],
    "eight_gpus": ["--gpus_per_worker=8"],
    "two_cpu_workers": ["--workers=2"],
    "four_workers": ["--workers=4", "--gpus_per_worker=8"],
    "everything": ["--workers=4", "--gpus_per_worker=8", *EVERYTHING],
    "everything_as_jobset": ["--workers=4", "--gpus_per_worker=8", "--overlay=jobset", *EVERYTHING],
    "cpu_jobset": ["--workers=2", "--overlay=jobset"],
    "cpu_spot": ["--spot"],
    "spot_overlay": ["--overlay=gke-spot", "--workers=2", "--gpus_per_worker=1"],
}
KUSTOMIZATIONS = sorted(path.parent for path in FILES.glob("**/kustomization.yaml") if "components" not in path.parts)


def job_of(*own: str) -> jobs.Job:
    return jobs.read(jobs.JobFlags, ["--name=load", "--image=r/trainer:1", *own, "--", *FLAGS])[1]


def made(*own: str) -> dict[str, dict]:
    return {found["kind"]: found for found in manifests.objects(job_of(*own))}


def spec_of(objects: dict[str, dict]) -> dict:
    if "Job" in objects:
        return objects["Job"]["spec"]
    return objects["JobSet"]["spec"]["replicatedJobs"][0]["template"]["spec"]


def check_schemas(found: dict) -> None:
    """Against every published version; a JobSet's Job template as the Job that will be made of it."""
    if found["kind"] in SCHEMAS:
        jsonschema.validate(found, SCHEMAS[found["kind"]])
        for replicated in found["spec"].get("replicatedJobs", ()):
            check_schemas(
                {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, **replicated["template"]}
            )
        return
    _check_published(json.dumps(found))


@functools.cache  # the overlays share most of their objects
def _check_published(found: str) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(json.loads(found), version, strict=True)


def pod_specs(value) -> Iterator[dict]:
    """Every pod's spec anywhere in an object."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for inside in value.values():
            yield from pod_specs(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from pod_specs(inside)


def environment(spec: dict, job_name: str, index: int) -> dict[str, str]:
    """The container's variables as the Job controller and the kubelet set them."""
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job_name}
    variables = {"JOB_COMPLETION_INDEX": str(index)}
    for variable in pod["containers"][0]["env"]:
        if "value" in variable:
            variables[variable["name"]] = variable["value"]
        else:
            path = variable["valueFrom"]["fieldRef"]["fieldPath"]
            variables[variable["name"]] = labels[path.removeprefix("metadata.labels['").removesuffix("']")]
    return variables


@pytest.mark.parametrize("own", RUNS.values(), ids=RUNS)
def test_every_rendered_object_is_valid_and_restricted(own):
    found = list(yaml.safe_load_all(manifests.to_yaml(manifests.objects(job_of(*own)))))
    for one in found:
        check_schemas(one)
        labels = one["metadata"]["labels"]
        assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]) == ("recurrent-trainer", "load")
        assert one["metadata"]["name"] == "load"
    pods = [pod for one in found for pod in pod_specs(one)]
    assert len(pods) == 1
    assert list(violations(pods[0])) == []


def test_a_preparation_is_done_when_all_its_tasks_are():
    own = ["--name=p", "--image=t:1", "--command=prepare", "--workers=3", "--queue=q", "--spot"]
    flags_of_prepare = ["--task=forecast", "--source=sample", "--output_dir=/data/p", "--num_tasks=3"]
    objects = {
        found["kind"]: found
        for found in manifests.objects(jobs.read(jobs.JobFlags, [*own, "--", *flags_of_prepare])[1])
    }
    for one in objects.values():
        check_schemas(one)
    spec = spec_of(objects)
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert "successPolicy" not in spec and spec_of(made())["successPolicy"]
    assert spec["template"]["spec"]["containers"][0]["command"] == ["python", "-m", "trainer.prepare"]
    config = flags.parse(PrepareConfig, objects["ConfigMap"]["data"]["trainer.flags"].splitlines())
    tasks = [prepare.task_of(config, environment(spec, "p", index)) for index in range(3)]
    assert [(task.index, task.count) for task in tasks] == [(0, 3), (1, 3), (2, 3)]


def test_the_files_of_a_preparation_fit_each_other(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    built = subprocess.run(
        ["kubectl", "kustomize", str(FILES / "prepare")], capture_output=True, text=True, check=True
    ).stdout
    objects = {found["kind"]: found for found in yaml.safe_load_all(built)}
    config = flags.parse(PrepareConfig, objects["ConfigMap"]["data"]["trainer.flags"].splitlines())
    assert config.num_tasks == spec_of(objects)["completions"] > 1
    assert "successPolicy" not in spec_of(objects)


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=lambda path: path.name)
def test_every_kustomization_is_valid_and_restricted(directory):
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    built = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=True).stdout
    for one in yaml.safe_load_all(built):
        check_schemas(one)
        assert [list(violations(pod)) for pod in pod_specs(one)] in ([], [[]])


def test_the_schemas_are_strict():
    good = made("--workers=2", "--overlay=jobset")
    assert VERSIONS[0] == "1.30.0"
    for wrong in ("completion", "podReplacementPolicies"):
        bad = copy.deepcopy(good["JobSet"])
        bad["spec"]["replicatedJobs"][0]["template"]["spec"][wrong] = 1
        with pytest.raises(kubernetes_validate.ValidationError, match=wrong):
            check_schemas(bad)
    bad = copy.deepcopy(good["JobSet"])
    bad["spec"]["failurePolicy"]["rules"][0]["name"] = "wrong-name"
    with pytest.raises(jsonschema.ValidationError, match="wrong-name"):
        check_schemas(bad)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        (("securityContext", "runAsUser"), 0, "runAsUser"),
        (("securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (("securityContext", "seccompProfile"), {}, "seccompProfile"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
        (("hostNetwork",), True, "hostNetwork"),
        (("volumes", 0), {"name": "node", "hostPath": {"path": "/"}}, "volume node"),
    ],
)
def test_the_security_check_finds_what_is_wrong(path, value, rule):
    pod = copy.deepcopy(spec_of(made())["template"]["spec"])
    place = pod
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert [found.split(": ")[-1] for found in violations(pod)] == [rule]


@pytest.mark.parametrize(("overlay", "job_name"), [("auto", "load"), ("jobset", "load-workers-0")])
def test_every_worker_finds_the_same_cluster(overlay, job_name):
    objects = made("--workers=4", "--gpus_per_worker=8", f"--overlay={overlay}")
    spec = spec_of(objects)
    service = (
        objects["Service"]["metadata"]["name"]
        if overlay == "auto"
        else objects["JobSet"]["spec"]["network"]["subdomain"]
    )
    assert spec["template"]["spec"]["subdomain"] == service
    # A pod of an Indexed Job has the host name JOB-INDEX, which its subdomain's headless Service resolves.
    expected = tuple(f"{job_name}-{index}.{service}:12345" for index in range(4))
    cluster = pytest.importorskip("trainer.training.cluster")
    for index in range(4):
        found = cluster.cluster_from(environment(spec, job_name, index))
        assert (found.addresses, found.index) == (expected, index)
    assert cluster.cluster_from(environment(spec_of(made()), "load", 0)) is None


def test_only_the_workers_own_service_and_policy_select_them():
    objects = made("--workers=2")
    labels = spec_of(objects)["template"]["metadata"]["labels"]
    selectors = [objects["Service"]["spec"]["selector"], objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]]
    selectors += [peer["podSelector"]["matchLabels"] for peer in objects["NetworkPolicy"]["spec"]["ingress"][0]["from"]]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/instance"] == "load"
    assert objects["Service"]["spec"]["clusterIP"] == "None"


def test_exit_codes_and_disruptions():
    from trainer import errors

    rules = spec_of(made())["podFailurePolicy"]["rules"]
    by_code = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    hopeless = (errors.EXIT_CONFIG, errors.EXIT_DATA, errors.EXIT_DIVERGED)
    assert by_code == {**dict.fromkeys(hopeless, "FailJob"), errors.EXIT_RESTART: "Ignore"}
    assert [rule["action"] for rule in rules if "onPodConditions" in rule] == ["Ignore"]


def test_the_trainer_reads_the_flags_of_the_config_map():
    job = job_of("--workers=4", "--gpus_per_worker=8")
    objects = {found["kind"]: found for found in manifests.objects(job)}
    text = objects["ConfigMap"]["data"]["trainer.flags"]
    container = spec_of(objects)["template"]["spec"]["containers"][0]
    assert container["command"] == ["python", "-m", "trainer.train"]
    assert container["args"] == ["--flagfile=/etc/trainer/trainer.flags"]
    mount = next(mount for mount in container["volumeMounts"] if mount["mountPath"] == "/etc/trainer")
    volume = next(
        volume for volume in spec_of(objects)["template"]["spec"]["volumes"] if volume["name"] == mount["name"]
    )
    assert volume["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert flags.parse(TrainConfig, text.splitlines()) == flags.parse(
        TrainConfig, [*job.trainer_flags, "--require_gpus=8"]
    ), "a pod with GPUs trains on them or not at all"
    on_cpus = job_of("--workers=4", "--gpus_per_worker=0")
    text = next(found for found in manifests.objects(on_cpus) if found["kind"] == "ConfigMap")["data"]["trainer.flags"]
    assert flags.parse(TrainConfig, text.splitlines()) == on_cpus.config


@pytest.mark.parametrize(
    ("place", "config"), [("base", TrainConfig), ("prepare", PrepareConfig), ("export", ExportConfig)]
)
def test_the_files_own_flags_are_flags(place, config, tmp_path):
    found = yaml.safe_load((FILES / place / "flags.yaml").read_text())
    (tmp_path / "trainer.flags").write_text(found["data"]["trainer.flags"])
    flags.parse(config, [f"--flagfile={tmp_path}/trainer.flags"])


def test_everything_reaches_its_field():
    objects = made("--workers=4", "--gpus_per_worker=8", *EVERYTHING)
    job, pod = objects["Job"], spec_of(objects)["template"]["spec"]
    container = pod["containers"][0]
    assert job["metadata"]["namespace"] == "ml"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert (job["spec"]["suspend"], job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (
        True,
        5,
        86400,
    )
    assert (pod["priorityClassName"], pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (
        "high",
        "reader",
        False,
    )
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}, {"secretRef": {"name": "more"}}]
    gke = {"cloud.google.com/gke-spot": "true", "cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert pod["nodeSelector"] == gke | {"pool": "train", "zone": "a"}
    assert {(taint["key"], taint.get("value"), taint["effect"]) for taint in pod["tolerations"]} == {
        ("nvidia.com/gpu", None, "NoSchedule"),
        ("cloud.google.com/gke-spot", "true", "NoSchedule"),
        ("dedicated", "ml", "NoSchedule"),
        ("old", None, "NoExecute"),
    }
    limits = {"memory": "64Gi", "nvidia.com/gpu": 8}
    assert container["resources"] == {"requests": {"cpu": "16", "memory": "64Gi"}, "limits": limits}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert [claims[mounts[path]["name"]] for path in ("/data/load", "/data/runs", "/backup")] == [
        "data",
        "runs",
        "runs",
    ]
    assert [mounts[path].get("readOnly", False) for path in ("/data/load", "/data/runs")] == [True, False]
    shared = next(volume for volume in pod["volumes"] if volume["name"] == mounts["/dev/shm"]["name"])
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_a_jobset_restarts_as_a_group_and_waits_in_its_queue():
    objects = made("--workers=4", "--gpus_per_worker=8", "--overlay=jobset", *EVERYTHING)
    assert set(objects) == {"ConfigMap", "NetworkPolicy", "JobSet"}
    spec = objects["JobSet"]["spec"]
    assert (spec["failurePolicy"]["maxRestarts"], spec_of(objects)["backoffLimit"], spec["suspend"]) == (5, 0, True)
    assert objects["JobSet"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def test_workers_without_gpus_tolerate_no_gpu_nodes():
    pod = spec_of(made("--workers=2"))["template"]["spec"]
    assert "tolerations" not in pod and "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]


def test_grace_is_longer_than_the_trainers():
    job = job_of()
    if job.grace_seconds is None:
        pytest.skip("this trainer has no --grace_seconds")
    for grace, wanted in ((25, 35), (40.5, 51)):
        own = jobs.read(jobs.JobFlags, ["--name=a", "--image=b", "--", *FLAGS, f"--grace_seconds={grace}"])[1]
        found = {one["kind"]: one for one in manifests.objects(own)}
        assert spec_of(found)["template"]["spec"]["terminationGracePeriodSeconds"] == wanted
    files = kustomize.build(FILES / "base")
    base = next(one for one in files if one["kind"] == "Job")
    assert (
        base["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        == job.grace_seconds + manifests.GRACE_MARGIN_SECONDS
    )
