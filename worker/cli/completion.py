"""Makes scripts that let a shell complete the command line, from the parser that reads it."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

PROGRAM = "session-worker"
_FILES = ("FILE", "DIR")  # metavars


class Word(NamedTuple):
    """A word that may come next, and what it means."""

    text: str
    summary: str = ""


class Option(NamedTuple):
    """An option: its names, and what may follow it."""

    names: tuple[str, ...]
    summary: str
    takes_value: bool
    choices: tuple[str, ...]
    takes_file: bool


class Place(NamedTuple):
    """A place on the command line, behind these words: `requests list`."""

    words: str
    next: tuple[Word, ...]  # commands, and the choices of arguments
    options: tuple[Option, ...]
    takes_file: bool


def places_of(parser: argparse.ArgumentParser, words: str = "") -> list[Place]:
    """List the place of this parser, and those of its subcommands."""
    return list(_places(parser, words))


def _places(parser: argparse.ArgumentParser, words: str) -> Iterator[Place]:
    options, following, below = [], [], []
    takes_file = False
    for action in parser._actions:  # noqa: SLF001 — argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 — as above
            following += [Word(each.dest, each.help or "") for each in action._choices_actions]  # noqa: SLF001 — as above
            below += list(action.choices.items())
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            options.append(
                Option(
                    names=tuple(action.option_strings),
                    summary=_plain(action.help),
                    takes_value=action.nargs != 0,
                    choices=tuple(map(str, action.choices or ())),
                    takes_file=action.metavar in _FILES,
                )
            )
        else:
            following += [Word(str(choice)) for choice in action.choices or ()]
            takes_file |= action.metavar in _FILES
    yield Place(words, tuple(following), tuple(options), takes_file)
    for name, each in below:
        yield from _places(each, f"{words} {name}".strip())


def bash(places: Sequence[Place]) -> str:
    """Write a function for bash, 3.2 and newer."""
    return f"""\
# Completes {PROGRAM} in bash. Made by: {PROGRAM} completion bash
_session_worker() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" place="" word words=""
  COMPREPLY=()
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
{_cases(places, "$previous", _bash_value, _bash_words)}
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}}
complete -F _session_worker {PROGRAM}
"""


def zsh(places: Sequence[Place]) -> str:
    """Write a function for zsh."""
    return f"""\
#compdef {PROGRAM}
# Completes {PROGRAM} in zsh. Made by: {PROGRAM} completion zsh
_session_worker() {{
  local place="" word
  local -a found
  for word in "${{(@)words[2,CURRENT-1]}}"; do
{_cases(places, "$words[CURRENT-1]", _zsh_value, _zsh_words)}
  _describe '{PROGRAM}' found
}}
if [ "$funcstack[1]" = "_session_worker" ]; then
  _session_worker "$@"
else
  compdef _session_worker {PROGRAM}
fi
"""


def fish(places: Sequence[Place]) -> str:
    """Write completions for fish."""
    known = " ".join(_quoted(place.words) for place in places if place.words)
    lines = [line for place in places for line in _fish_lines(place)]
    return f"""\
# Completes {PROGRAM} in fish. Made by: {PROGRAM} completion fish
function __session_worker_at
  set -l place
  for word in (commandline -opc)[2..-1]
    set -l longer (string trim -- "$place $word")
    if contains -- "$longer" {known}
      set place "$longer"
    end
  end
  test "$place" = "$argv"
end
complete -c {PROGRAM} -f
{_lines(lines)}
"""


def _cases(
    places: Sequence[Place], previous: str, value: Callable[[Option], str], words: Callable[[Place], str]
) -> str:
    """Write what bash and zsh have in common, from within the loop over the words: where they lead to, what
    follows an option and is its value, and else what may come next.
    """
    values = [
        f"    {_case(place, option)})\n      {value(option)} ;;"
        for place in places
        for option in place.options
        if option.takes_value
    ]
    following = [f'    "{place.words}")\n      {words(place)} ;;' for place in places]
    return f"""\
    case "${{place:+$place }}$word" in
      {_either(place.words for place in places if place.words)})
        place="${{place:+$place }}$word" ;;
    esac
  done
  case "$place {previous}" in
{_lines(values)}
  esac
  case "$place" in
{_lines(following)}
  esac"""


def _bash_words(place: Place) -> str:
    words = [word.text for word in place.next] + [name for option in place.options for name in option.names]
    files = '; COMPREPLY=($(compgen -f -- "$current"))' if place.takes_file else ""
    return f'words="{" ".join(words)}"{files}'


def _zsh_words(place: Place) -> str:
    return f"found=({' '.join(_described(place))}){'; _files' if place.takes_file else ''}"


def _case(place: Place, option: Option) -> str:
    return _either(f"{place.words} {name}" for name in option.names)


def _either(texts: Iterator[str]) -> str:
    return "|".join(f'"{text}"' for text in texts)


def _bash_value(option: Option) -> str:
    if option.takes_file:
        return 'COMPREPLY=($(compgen -f -- "$current")); return'
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current")); return'
    return "return"


def _zsh_value(option: Option) -> str:
    if option.takes_file:
        return "_files; return"
    return f"compadd -- {' '.join(option.choices)}; return" if option.choices else "_message value; return"


def _described(place: Place) -> Iterator[str]:
    for word in place.next:
        yield _quoted(f"{word.text}:{word.summary}" if word.summary else word.text)
    for option in place.options:
        yield from (_quoted(f"{name}:{option.summary}") for name in option.names)


def _fish_lines(place: Place) -> Iterator[str]:
    begin = f"complete -c {PROGRAM} -n {_quoted(f'__session_worker_at {place.words}'.strip())}"
    for word in place.next:
        yield f"{begin} -a {_quoted(word.text)}" + (f" -d {_quoted(word.summary)}" if word.summary else "")
    if place.takes_file:
        yield f"{begin} -F"
    for option in place.options:
        names = "".join(
            f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names
        )
        value = ""
        if option.takes_value:
            value = " -r -F" if option.takes_file else " -x"
            if option.choices:
                value += f" -a {_quoted(' '.join(option.choices))}"
        yield f"{begin}{names}{value} -d {_quoted(option.summary)}"


def _plain(summary: str | None) -> str:
    return " ".join((summary or "").replace("%%", "%").split())


def _quoted(text: str) -> str:
    """Quote a text for zsh and fish: both take a quote out of the quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)
