"""Lists the images that are built upon and started, and pins them by digest: `deploy/images.py --renew`.

To renew needs Docker and the registry of each image. It writes the digest that a tag has today behind it.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "docker-compose.yml", "docker-compose.cluster.yml")
OWN = "session-worker:"
_LINE = re.compile(
    r"^(?P<before>\s*(?:FROM|image:)\s+)(?P<name>[^\s@]+)(?P<digest>@sha256:[0-9a-f]{64})?", re.MULTILINE
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Image(NamedTuple):
    file: str
    name: str
    digest: str | None


class NoDigestError(Exception):
    """The registry did not tell it; the text says what it said."""


def images(root: Path = ROOT) -> list[Image]:
    """Return the images of others that the files name."""
    return [
        Image(file, found["name"], found["digest"] and found["digest"][1:])
        for file in FILES
        for found in _LINE.finditer((root / file).read_text("utf-8"))
        if not found["name"].startswith(OWN)
    ]


def digest_of(name: str) -> str:
    """Ask the image's registry which digest the tag has now: that of the list for all kinds of machines."""
    command = ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", name)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — the command of this file
    if not (found := _DIGEST.search(done.stdout)):
        raise NoDigestError((done.stderr.strip().splitlines() or ["no word"])[-1])
    return found[0]


def renew(root: Path, digests: dict[str, str]) -> None:
    """Write these digests behind the images' names."""
    for file in FILES:
        text = (root / file).read_text("utf-8")

        def pinned(found: re.Match[str]) -> str:
            digest = digests.get(found["name"])
            return f"{found['before']}{found['name']}@{digest}" if digest else found[0]

        (root / file).write_text(_LINE.sub(pinned, text), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--renew", action="store_true", help="pin each image by the digest that its tag has today"
    )
    if not parser.parse_args().renew:
        for image in images():
            print(f"{image.file}: {image.name} {image.digest or 'has no digest'}")
        return 0
    digests = {}
    for name in sorted({image.name for image in images()}):
        try:
            digests[name] = digest_of(name)
        except (NoDigestError, OSError) as error:
            print(f"{name}: its registry told no digest: {error}")
    renew(ROOT, digests)
    print(f"{len(digests)} images are pinned; take their lines out of deploy/supply.toml")
    return int(len(digests) < len({image.name for image in images()}))


if __name__ == "__main__":
    sys.exit(main())
