"""A mirror shows the cluster's objects whatever happens to its watch."""

from __future__ import annotations

import time

from kubernetes_api import KubernetesApi

from launch.client import Client
from launch.mirror import Mirror


def put(api: KubernetesApi, name: str) -> None:
    api.put("configmaps", {"metadata": {"name": name, "labels": {"a": "b"}}}, "default")


def mirror(client: Client, **more) -> Mirror:
    made = Mirror(client, "v1", "ConfigMap", "default", "a=b", lambda: None, **more)
    assert made.ready.wait(10)
    return made


def comes(made: Mirror, *names: str) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if sorted(each["metadata"]["name"] for each in made.objects()) == sorted(names):
            return True
        time.sleep(0.02)
    return False


def test_changes_come_in_and_a_broken_watch_is_mended(api, client) -> None:
    put(api, "one")
    made = mirror(client)
    assert comes(made, "one")
    put(api, "two")
    assert comes(made, "one", "two")
    api.fail("GET", "configmaps.*watch=true", 0, times=4)
    api.break_streams()
    put(api, "three")
    api.remove("configmaps", "one")
    assert comes(made, "two", "three")
    api.forget_history()
    api.break_streams()
    put(api, "four")
    assert comes(made, "two", "three", "four")
    made.stop()


def test_a_refusal_ends_it_at_once(api, client) -> None:
    api.fail("GET", "configmaps", 403, "no rights", times=99)
    made = mirror(client)
    assert made.error is not None and made.error.status == 403


def test_a_cluster_that_stays_away_ends_it_after_a_while(api, client) -> None:
    api.fail("GET", "configmaps", 500, times=999)
    made = mirror(client, give_up_seconds=1.0)
    assert made.error is not None and made.error.status == 500
