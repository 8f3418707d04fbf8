"""The man page has all that the help has, and roff reads it as it is meant."""

import importlib.util
import re

from support.contract.documents import ROOT

from worker.cli.completion import places_of
from worker.cli.main import COMMANDS, load, parser_of
from worker.settings import Settings, variable_name

_MACROS = {"TH", "SH", "SS", "TP", "PP", "B", "I", "EX", "EE"}


def test_it_has_every_command_option_and_setting() -> None:
    spec = importlib.util.spec_from_file_location("man_page", ROOT / "deploy" / "man_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page: str = module.man_page()
    shown = page.replace("\\-", "-")
    headings = set(re.findall(r"^\.SS session-worker (.+)$", shown, re.MULTILINE))
    places = places_of(parser_of({name: load(name) for name in COMMANDS}))

    assert headings == {place.words for place in places if place.words}
    assert {name for place in places for option in place.options for name in option.names} - {
        "-h", "--help", "--version",
    } == set(re.findall(r"\\fB(-\S+)\\fR", shown))  # fmt: skip
    assert set(re.findall(r"^\.B ([A-Z_]+)$", shown, re.MULTILINE)) == set(
        map(variable_name, Settings.model_fields)
    )
    assert set(re.findall(r"^[.'](\w*)", page, re.MULTILINE)) == _MACROS
    assert page.count("\n.EX\n") == page.count("\n.EE\n")
