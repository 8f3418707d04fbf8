"""Renders the folders of deploy/ as `kubectl kustomize` does, as far as they ask for it; it refuses the rest.

So the tests need no kubectl. What it makes of deploy/kubernetes/ is in rendered.yaml beside this file, and
was found to be what kubectl makes of it.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
RENDERED = Path(__file__).with_name("rendered.yaml")
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "configMapGenerator", "generatorOptions"}
_HEAD = "# What `kubectl kustomize deploy/kubernetes` prints, but for the order. `make generate` writes it.\n"
_LETTERS = str.maketrans("013ae", "ghkmt")  # no name with a hash becomes a word

Manifest = dict[str, Any]


@cache
def rendered_text() -> str:
    return _HEAD + "".join(f"---\n{yaml.dump(each, Dumper=_Plain)}" for each in render(FOLDER))


class _Plain(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes out what several places share, as kustomize does."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 — the name and the argument are PyYAML's
        return True


def render(folder: Path) -> list[Manifest]:
    """Return all that a folder's kustomization makes."""
    asked = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert asked.keys() <= _KNOWN, f"{folder}: {asked.keys() - _KNOWN}"
    found = [each for name in asked["resources"] for each in _resource(folder / name)]
    options = asked.get("generatorOptions", {})
    for wanted in asked.get("configMapGenerator", ()):
        found.append(made := _config_map(folder, wanted, options))
        for each in found:
            _rename(each, wanted["name"], made["metadata"]["name"])
    for image in asked.get("images", ()):
        for each in found:
            _rename_image(each, image["name"], f"{image['newName']}:{image['newTag']}")
    if namespace := asked.get("namespace"):
        for each in found:
            if each["kind"] != "Namespace":
                each["metadata"]["namespace"] = namespace
    return found


def _resource(path: Path) -> list[Manifest]:
    return render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text("utf-8")))


def _config_map(folder: Path, wanted: Manifest, options: Manifest) -> Manifest:
    """Make a ConfigMap from files and from lines NAME=VALUE."""
    data = {name.rpartition("/")[2]: (folder / name).read_text("utf-8") for name in wanted.get("files", ())}
    for name in wanted.get("envs", ()):
        lines = (folder / name).read_text("utf-8").splitlines()
        data |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    name = wanted["name"]
    if not options.get("disableNameSuffixHash"):
        text = json.dumps(
            {"data": data, "kind": "ConfigMap", "name": ""}, separators=(",", ":"), sort_keys=True
        )
        name += f"-{hashlib.sha256(text.encode()).hexdigest()[:10].translate(_LETTERS)}"
    metadata = {"name": name} | ({"labels": options["labels"]} if "labels" in options else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _rename(manifest: Manifest, old: str, new: str) -> None:
    for each in pods_of(manifest):
        for container in containers_of(each):
            for source in container.get("envFrom", ()):
                if source.get("configMapRef", {}).get("name") == old:
                    source["configMapRef"] = {"name": new}


def _rename_image(manifest: Manifest, old: str, new: str) -> None:
    for each in pods_of(manifest):
        for container in containers_of(each):
            if container["image"] == old:
                container["image"] = new


def pods_of(manifest: Manifest) -> Iterator[Manifest]:
    """Yield the specification of the pods that a built-in kind starts."""
    if manifest["apiVersion"].partition("/")[0] in ("apps", "batch"):
        yield manifest["spec"]["template"]["spec"]


def containers_of(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]
