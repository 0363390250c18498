"""Reads the kustomizations of k8s/ without kubectl: the part of kustomize that those files use, and no more.

`resources`, `components`, `patches` (strategic merge, from files) and `replacements` of whole fields.
tests/unit/launch/test_kustomize.py compares it with `kubectl kustomize` on every overlay.
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

FILE = "kustomization.yaml"
KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "replacements"}
# an object with this annotation is for other files to read, not for the cluster
LOCAL = "config.kubernetes.io/local-config"
# Fields whose lists are merged by a key; all other lists are replaced (patchMergeKey in the API's types).
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}


def k8s_files() -> Path:
    """The directory k8s/, of the checkout or of the installed package."""
    inside = Path(__file__).parent / "k8s"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "k8s"


def read(directory: Path) -> dict[str, Any]:
    """The kustomization of a directory.

    Raises:
      ValueError: it uses what is not known here.
    """
    layer: dict[str, Any] = yaml.safe_load((directory / FILE).read_text(encoding="utf-8"))
    for field in set(layer) - KNOWN:
        raise ValueError(
            f"{directory / FILE} uses {field}, which only kubectl kustomize knows; use one of "
            f"{', '.join(sorted(KNOWN))}"
        )
    return layer


def build(directory: Path, components: Sequence[Path] | None = None) -> list[Object]:
    """The objects that `kubectl kustomize DIRECTORY` prints, in the order of the files.

    Args:
      components: directories to use in place of the kustomization's own components.
    """
    layer = read(directory)
    objects = [content for path in layer.get("resources", ()) for content in _load(directory / path)]
    objects = _changed(objects, layer, directory)
    requested = [(directory / path).resolve() for path in layer.get("components", ())]
    for component in requested if components is None else components:
        objects = apply_component(objects, component)
    return objects


def apply_component(objects: list[Object], directory: Path) -> list[Object]:
    """`objects` with a component's resources added and its patches and replacements done."""
    layer = read(directory)
    added = [content for path in layer.get("resources", ()) for content in _load(directory / path)]
    return _changed([*objects, *added], layer, directory)


def _load(path: Path) -> list[Object]:
    if path.is_dir():
        return build(path.resolve())
    return [content for content in yaml.safe_load_all(path.read_text(encoding="utf-8")) if content]


def _changed(objects: list[Object], layer: dict[str, Any], directory: Path) -> list[Object]:
    objects = copy.deepcopy(objects)
    for patch in layer.get("patches", ()):
        for change in _load(directory / patch["path"]):
            _patch(objects, change, directory / patch["path"])
    for replacement in layer.get("replacements", ()):
        _replace(objects, replacement)
    return [content for content in objects if content["metadata"].get("annotations", {}).get(LOCAL) != "true"]


def _patch(objects: list[Object], change: Object, source: Path) -> None:
    requested = (change["kind"], change["metadata"]["name"])
    for position, content in enumerate(objects):
        if (content["kind"], content["metadata"]["name"]) == requested:
            objects[position] = merge(content, change)
            return
    raise ValueError(f"{source} changes {' '.join(requested)}, which there is none of; name an object of the resources")


def merge(base: Any, change: Any, field: str = "") -> Any:
    """`base` with a strategic merge patch: mappings are merged (null removes), lists by their key (what is new first)
    or replaced.
    """
    if isinstance(base, dict) and isinstance(change, dict):
        merged = {
            name: merge(base[name], change[name], name) if name in change else value for name, value in base.items()
        }
        merged.update((name, value) for name, value in change.items() if name not in base)
        return {name: value for name, value in merged.items() if value is not None}
    key = MERGE_KEYS.get(field)
    if key and isinstance(base, list) and isinstance(change, list):
        before = {item[key]: item for item in base}
        first = [merge(before[item[key]], item) if item[key] in before else item for item in change]
        return first + [item for item in base if item[key] not in {item[key] for item in change}]
    return change


def _replace(objects: list[Object], replacement: dict[str, Any]) -> None:
    """Copies one field of the object of a kind to fields of another kind's."""
    source = next(content for content in objects if content["kind"] == replacement["source"]["kind"])
    value: Any = source
    for part in replacement["source"]["fieldPath"].split("."):
        value = value[part]
    for target in replacement["targets"]:
        for content in (content for content in objects if content["kind"] == target["select"]["kind"]):
            for path in target["fieldPaths"]:
                *parents, last = path.split(".")
                place: Any = content
                for part in parents:
                    place = place[int(part) if isinstance(place, list) else part]
                place[last] = copy.deepcopy(value)
