"""`session-worker dead replay`."""

import argparse
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from worker.cli import event_loop, exits
from worker.cli.dead_letters import selection_options
from worker.cli.exits import CommandError
from worker.cli.options import json_option, wait_option
from worker.cli.replaying import rate_option, replay
from worker.messages.mending import Do, Edit, edit_from

EXAMPLES = """\
  session-worker dead replay --reason "request_id is required" --dry-run
  session-worker dead replay --like 6fa860ba --rename id=request_id
  session-worker dead replay --app billing --set org_id=org-7 --delete payload.x
  session-worker dead replay 6fa860ba --editor

The dry run says of each: new | answered from the record | conflict | still
unreadable. The last two are left in custody. A message keeps its request id,
so one that is sent twice is answered once: after an interruption say the same
again. PATH is names with full stops between. --set takes JSON, or else a text;
@id is an id of the message's own: --set request_id=@id.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    selection_options(parser)
    forms: tuple[tuple[Do, str, str], ...] = (
        ("set", "PATH=VALUE", "set a member of each body"),
        ("rename", "PATH=NAME", "give a member another name"),
        ("delete", "PATH", "leave a member out"),
    )
    for do, form, summary in forms:
        parser.add_argument(
            f"--{do}", dest="edits", action="append", metavar=form,
            type=_edit(do), default=[], help=f"{summary}; may be given several times",
        )  # fmt: skip
    parser.add_argument("--editor", action="store_true", help="mend one message in $EDITOR first")
    rate_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.editor and (len(options.ids) != 1 or options.edits):
        raise CommandError(exits.USAGE, "--editor takes one ID, and no other edit")
    return event_loop.run(replay(options, edits=options.edits, edit=_in_editor if options.editor else None))


def _edit(do: Do) -> Callable[[str], Edit]:
    def read(text: str) -> Edit:
        try:
            return edit_from(do, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _in_editor(body: bytes) -> bytes:
    """Let a person mend it. The file is theirs alone, and gone afterwards: it may hold credentials."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "message.json")
        file.write_bytes(body)
        try:
            ended = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode  # noqa: S603 — the operator's own editor
        except OSError as error:
            raise CommandError(exits.USAGE, f"{editor}: {error.strerror}: set EDITOR") from None
        if ended:
            raise CommandError(exits.FAILED, f"{editor} ended with {ended}: nothing was sent")
        return file.read_bytes()
