"""The client against a real HTTP server: what it asks again, what it gives up on, and the one line that it tells
then.
"""

from __future__ import annotations

import time

import pytest
from kubernetes.client import Configuration
from kubernetes_api import KubernetesApi, serving

from launch import client as clients
from launch.client import Client, ClusterError

CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "demo", "namespace": "default"},
    "data": {"a": "1"},
}


def test_apply_makes_changes_and_leaves_alone(api, client) -> None:
    first = client.apply(CONFIG_MAP)
    again = client.apply(CONFIG_MAP)
    changed = client.apply({**CONFIG_MAP, "data": {"b": "2"}})
    assert (
        first["metadata"]["resourceVersion"]
        == again["metadata"]["resourceVersion"]
        != changed["metadata"]["resourceVersion"]
    )
    assert api.get("configmaps", "demo")["data"] == {"b": "2"}  # a field that is not asked for any more is taken away


def test_a_dry_run_keeps_nothing(api, client) -> None:
    client.apply(CONFIG_MAP, dry_run=True)
    assert api.all("configmaps") == []
    assert client.get("v1", "ConfigMap", "default", "demo") is None


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(api, client, status) -> None:
    client.get("v1", "ConfigMap", "default", "demo")  # discovery, done once
    api.fail("PATCH", "configmaps", status, times=2, Retry_After="1")
    started = time.monotonic()
    client.apply(CONFIG_MAP)
    assert api.get("configmaps", "demo")["data"] == {"a": "1"}
    assert 2.0 <= time.monotonic() - started < 10  # the server's own wish is heeded


def test_a_connection_that_breaks_is_tried_again(api, client) -> None:
    client.get("v1", "ConfigMap", "default", "demo")
    api.fail("PATCH", "configmaps", 0)
    client.apply(CONFIG_MAP)
    assert api.get("configmaps", "demo")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "does not know who you are"),
        (403, "ask for a role that may do it"),
        (409, "another program set these fields"),
        (422, "cancel the run of that name first"),
        (429, "is too busy (429 because), tried several times; try again later"),
        (500, "500 answer"),
    ],
)
def test_refusals_are_one_line_with_cause_and_remedy(api, client, status, told) -> None:
    api.fail("PATCH", "configmaps", status, "be\ncause" if status != 429 else "because", times=99)
    with pytest.raises(ClusterError) as caught:
        client.apply(CONFIG_MAP)
    text = str(caught.value)
    assert told in text and "cause" in text and "cannot apply ConfigMap demo" in text and "\n" not in text
    assert caught.value.status == status
    assert caught.value.exit_code == (64 if status == 422 else 1)


def test_another_manager_s_field_is_a_conflict(api, client) -> None:
    entry = ("v1", "configmaps", "ConfigMap", True)
    api.apply(entry, "default", "demo", CONFIG_MAP, {"fieldManager": "kubectl"})
    client.apply(CONFIG_MAP)  # the same value is not a conflict
    with pytest.raises(ClusterError, match=r"conflict .*data\.a \(kubectl\)"):
        api.apply(
            entry, "default", "demo", {**CONFIG_MAP, "data": {"a": "3"}}, {"fieldManager": "kubectl", "force": "true"}
        )
        client.apply({**CONFIG_MAP, "data": {"a": "4"}})


def test_no_server_is_told_with_its_address() -> None:
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"no answer from http://127.0.0.1:1 .*kubectl cluster-info"):
        Client(Configuration(host="http://127.0.0.1:1"))
    assert time.monotonic() - started < 10


def test_no_configured_cluster_is_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(clients.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match=r"no cluster is configured .*set KUBECONFIG"):
        clients.connect()


def test_a_kind_that_the_cluster_lacks_names_its_project() -> None:
    with serving(KubernetesApi(without=("jobset.x-k8s.io/v1alpha2",))) as address:
        client = Client(Configuration(host=address))
        assert client.serves("batch/v1", "Job") and not client.serves("jobset.x-k8s.io/v1alpha2", "JobSet")
        with pytest.raises(ClusterError, match=r"has no JobSet .*install JobSet"):
            client.list("jobset.x-k8s.io/v1alpha2", "JobSet", "default")


def test_a_secret_s_content_is_not_read(api, client) -> None:
    api.put("secrets", {"metadata": {"name": "token"}, "data": {"password": "eA=="}}, "default")
    found = client.get("v1", "Secret", "default", "token", only_metadata=True)
    assert found is not None and found["metadata"]["name"] == "token" and "data" not in found


def test_a_watch_tells_what_happens_after_the_list(api, client) -> None:
    api.put("configmaps", {"metadata": {"name": "old", "labels": {"a": "b"}}}, "default")
    found, version = client.list("v1", "ConfigMap", "default", "a=b")
    assert [each["metadata"]["name"] for each in found] == ["old"]
    api.put("configmaps", {"metadata": {"name": "new", "labels": {"a": "b"}}}, "default")
    api.put("configmaps", {"metadata": {"name": "other", "labels": {"a": "c"}}}, "default")
    api.remove("configmaps", "old")
    events = client.watch("v1", "ConfigMap", "default", "a=b", version)
    assert [(kind, each["metadata"]["name"]) for kind, each in (next(events), next(events))] == [
        ("ADDED", "new"),
        ("DELETED", "old"),
    ]
    api.break_streams()
    with pytest.raises(ClusterError, match="cannot watch ConfigMap: no answer"):
        next(events)


def test_a_version_too_old_to_watch_from_is_gone(api, client) -> None:
    _, version = client.list("v1", "ConfigMap", "default")
    api.forget_history()
    with pytest.raises(ClusterError) as caught:
        next(client.watch("v1", "ConfigMap", "default", "", version))
    assert caught.value.status == 410
