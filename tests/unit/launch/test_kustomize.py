"""Our reading of the kustomizations against kubectl's."""

import shutil
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

from launch import kustomize  # noqa: E402

FILES = kustomize.k8s_files()
READ_BY_US = [FILES / "base", *sorted(path.parent for path in FILES.glob("overlays/*/kustomization.yaml"))]
ALL = sorted(path.parent for path in FILES.glob("**/kustomization.yaml") if "components" not in path.parts)


def kubectl(directory: Path) -> list[dict]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def by_name(objects: list[dict]) -> dict:
    return {(made["kind"], made["metadata"]["name"]): made for made in objects}


@pytest.mark.parametrize("directory", ALL, ids=lambda path: path.name)
def test_kubectl_builds_every_kustomization(directory):
    assert kubectl(directory)


@pytest.mark.parametrize("directory", READ_BY_US, ids=lambda path: path.name)
def test_the_same_objects_as_kubectl(directory):
    ours, theirs = kustomize.build(directory), kubectl(directory)
    assert len(ours) == len(theirs)
    assert by_name(ours) == by_name(theirs)


def test_merge_of_named_lists():
    base = {"spec": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["x", "y"]}}
    change = {"spec": {"env": [{"name": "C", "value": "3"}, {"name": "B", "value": "9"}], "args": ["z"]}}
    merged = kustomize.merge(base, change)["spec"]
    assert {item["name"]: item["value"] for item in merged["env"]} == {"A": "1", "B": "9", "C": "3"}
    assert merged["args"] == ["z"]
    assert base["spec"]["env"][1]["value"] == "2"


def test_what_we_do_not_know_is_refused(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: []\nnamePrefix: x-\n")
    with pytest.raises(ValueError, match="uses namePrefix, which only kubectl"):
        kustomize.build(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("patches: [{path: job.yaml}]\n")
    (tmp_path / "job.yaml").write_text("kind: Job\nmetadata: {name: none}\n")
    with pytest.raises(ValueError, match="changes Job none, which there is none of"):
        kustomize.build(tmp_path)
