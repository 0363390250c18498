"""Submit makes all or nothing and can be repeated; cancel removes all that submit made. Real client, real HTTP."""

from __future__ import annotations

import pytest
from job_controller import JobController
from kubernetes_api import KubernetesApi

from launch import submission
from launch.client import ClusterError
from launch.job import JobFlags, read
from launch.manifests import objects
from launch.run_objects import KINDS, Run, look
from trainer.errors import ConfigError

TRAIN = ["--", "--data_dir=/data/set", "--model_dir=/data/model", "--train_steps=10", "--batch_size=32"]
RUN = Run("demo", "default")


def rendered(*more: str, train: tuple[str, ...] = ()) -> list[dict]:
    return objects(read(JobFlags, ["--name=demo", "--image=trainer:0.1.0", "--workers=2", *more, *TRAIN, *train])[1])


def changes(done: list[dict[str, str]]) -> set[str]:
    return {each["change"] for each in done}


def made(api: KubernetesApi) -> int:
    return sum(len(api.all(plural)) for plural in ("jobs", "jobsets", "services", "configmaps", "networkpolicies"))


@pytest.mark.parametrize("overlay", ["auto", "kueue", "jobset", "gke-spot"])
def test_submit_can_be_repeated_and_cancel_removes_it_all(api, client, overlay) -> None:
    api.put("localqueues", {"metadata": {"name": "trainer"}}, "default")
    api.put("configmaps", {"metadata": {"name": "demo-notes"}}, "default")  # somebody else's
    wanted = rendered(f"--overlay={overlay}")
    done = submission.submit(client, RUN, wanted)
    assert [(each["kind"], each["name"]) for each in done] == [
        (each["kind"], each["metadata"]["name"]) for each in wanted
    ]
    assert changes(done) == {"created"}
    assert changes(submission.submit(client, RUN, wanted)) == {"unchanged"}
    assert {(each["apiVersion"], each["kind"]) for each in wanted} <= set(KINDS)  # so that cancel knows them
    deleted = submission.cancel(client, RUN)
    assert len(deleted) == len(wanted)
    assert made(api) == 1 and api.get("configmaps", "demo-notes")
    assert submission.cancel(client, RUN) == []


def test_a_queue_that_started_the_run_is_not_overruled(api, client) -> None:
    api.put("localqueues", {"metadata": {"name": "trainer"}}, "default")
    wanted = rendered("--overlay=kueue")
    submission.submit(client, RUN, wanted)
    job = api.get("jobs", "demo")
    assert job["spec"]["suspend"] is True
    job["spec"]["suspend"] = False
    job["metadata"]["managedFields"]['["spec", "suspend"]'] = "kueue"
    api.put("jobs", job)
    submission.submit(client, RUN, wanted)
    assert api.get("jobs", "demo")["spec"]["suspend"] is False


def test_everything_missing_is_told_at_once_and_nothing_made(api, client) -> None:
    api.remove("persistentvolumeclaims", "trainer")
    names = [
        "--secrets=tokens",
        "--image_pull_secrets=registry",
        "--service_account=trainer",
        "--priority_class=high",
        "--queue=gpus",
    ]
    with pytest.raises(ConfigError) as caught:
        submission.submit(client, RUN, rendered(*names))
    told = str(caught.value)
    for line in (
        "--secrets=tokens names a Secret that is not there in namespace default; create it first, or name one that "
        "exists",
        "--secrets=registry names a Secret",
        "--service_account=trainer names a ServiceAccount",
        "--priority_class=high names a PriorityClass that is not there;",
        "--queue=gpus names a LocalQueue",
        "--volumes=trainer names a PersistentVolumeClaim",
    ):
        assert line in told
    assert len(told.splitlines()) == 6
    assert made(api) == 0
    api.put("persistentvolumeclaims", {"metadata": {"name": "trainer"}}, "default")
    for name in ("tokens", "registry"):
        api.put("secrets", {"metadata": {"name": name}}, "default")
    api.put("serviceaccounts", {"metadata": {"name": "trainer"}}, "default")
    api.put("priorityclasses", {"metadata": {"name": "high"}})
    api.put("localqueues", {"metadata": {"name": "gpus"}}, "default")
    assert changes(submission.submit(client, RUN, rendered(*names))) == {"created"}


def test_a_namespace_that_is_not_there(api, client) -> None:
    with pytest.raises(ConfigError, match="--namespace=team is not there; kubectl create namespace team"):
        submission.submit(client, Run("demo", "team"), rendered("--namespace=team"))
    assert made(api) == 0


def test_who_may_not_read_secrets_may_still_submit(api, client, caplog) -> None:
    api.fail("GET", "secrets", 403, times=99)
    assert changes(submission.submit(client, RUN, rendered("--secrets=tokens"))) == {"created"}
    assert "cannot check that Secret tokens exists" in caplog.text


def test_what_the_cluster_refuses_is_refused_as_a_whole(api, client) -> None:
    api.fail("PATCH", "jobs/demo.*dryRun=All", 403, "violates a policy of this cluster")
    api.fail("PATCH", "services/demo.*dryRun=All", 403, "no rights on services")
    with pytest.raises(ClusterError) as caught:
        submission.submit(client, RUN, rendered())
    assert [word in str(caught.value) for word in ("violates a policy of this cluster", "no rights on services")] == [
        True,
        True,
    ]
    assert made(api) == 0


def test_other_settings_under_the_same_name_are_refused(api, client) -> None:
    submission.submit(client, RUN, rendered())
    before = api.get("jobs", "demo")
    with pytest.raises(ClusterError) as caught:
        submission.submit(client, RUN, rendered("--image=trainer:0.2.0", train=("--seed=1",)))
    told = str(caught.value)
    assert caught.value.exit_code == 64
    assert "cannot apply Job demo: refused" in told and "cannot apply ConfigMap demo: refused" in told
    assert "cancel the run of that name first" in told
    assert api.get("jobs", "demo") == before


def test_another_program_s_run_is_a_conflict(api, client) -> None:
    job = next(each for each in rendered() if each["kind"] == "Job")
    job["spec"]["backoffLimit"] = 9
    api.apply(("batch/v1", "jobs", "Job", True), "default", "demo", job, {"fieldManager": "kubectl"})
    with pytest.raises(ClusterError, match=r"conflict .*spec\.backoffLimit \(kubectl\).*use another --name"):
        submission.submit(client, RUN, rendered())
    assert made(api) == 1


def test_an_older_run_that_is_still_going_away_is_not_joined(api, client) -> None:
    submission.submit(client, RUN, rendered())
    job = api.get("jobs", "demo")
    job["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    api.put("jobs", job)
    with pytest.raises(ClusterError, match="Job demo is still being deleted; submit again when it is gone"):
        submission.submit(client, RUN, rendered())


def test_a_busy_cluster_is_waited_for(api, client) -> None:
    api.fail("PATCH", "jobs", 429, times=2, Retry_After="0")
    assert changes(submission.submit(client, RUN, rendered())) == {"created"}


def test_cancel_waits_for_the_pods(api, client) -> None:
    submission.submit(client, RUN, rendered())
    controller = JobController(api, "demo")
    controller.make_pods()
    controller.start_all()
    assert look(client, RUN).state.state == "running"
    api.terminating_seconds = 1.5
    assert len(submission.cancel(client, RUN)) == 4
    assert api.all("pods") == []
    assert look(client, RUN).state.state == "absent"
