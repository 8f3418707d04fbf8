"""Unpacks an image of Docker into a folder, so that its programs run where a container of it could not be."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.stack import Sandbox
from worker.stack.docker import Docker

_SECONDS: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    root: Path
    environ: Mapping[str, str]
    """What the image sets for its programs."""


async def unpack(sandbox: Sandbox, image: str) -> Unpacked:
    """Unpack an image that Docker has, in the folder of this sandbox."""
    docker, name = Docker(os.environ), f"{sandbox.path.name}-unpacked"
    root, packed = sandbox.path / "image", sandbox.path / "image.tar"
    root.mkdir()
    settings = await docker.run("image", "inspect", "--format", "{{json .Config.Env}}", image, limit=_SECONDS)
    await sandbox.at_end("docker", "rm", "--force", "--volumes", name)
    await docker.run("create", "--pull", "never", "--name", name, image, limit=_SECONDS)
    await docker.run("export", "--output", str(packed), name, limit=_SECONDS)
    await sandbox.run("tar", "-C", str(root), "--no-same-owner", "-xf", str(packed), env=os.environ)
    packed.unlink()
    return Unpacked(root=root, environ=dict(each.split("=", 1) for each in json.loads(settings)))
