"""`session-worker completion`."""

import argparse

from worker.cli import exits
from worker.cli.completion import bash, fish, places_of, zsh
from worker.cli.main import COMMANDS, load, parser_of

EXAMPLES = """\
  source <(session-worker completion bash)           now, in this shell
  session-worker completion bash \\
      > ~/.local/share/bash-completion/completions/session-worker
  session-worker completion zsh > ~/.zfunc/_session-worker
      with `fpath+=(~/.zfunc)` before `compinit` in .zshrc
  session-worker completion fish \\
      > ~/.config/fish/completions/session-worker.fish
"""
_SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS)


def execute(options: argparse.Namespace) -> int:
    places = places_of(parser_of({name: load(name) for name in COMMANDS}))
    print(_SHELLS[options.shell](places), end="")
    return exits.OK
