"""The page on the architecture names the files that there are, and the layers are those that lie there."""

import re

import pytest
from support.architecture import PAGE, layers
from support.statements import ROOT

_FILE = re.compile(r"`(?!test_)([a-z_/]+\.(?:py|sql))`")
_PARTS = re.compile(r"<!-- drawn: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def test_each_part_that_is_drawn_has_its_place() -> None:
    assert [name for name, _ in _PARTS.findall(PAGE.read_text("utf-8"))] == ["layers", "request", "lease"]


def test_the_files_that_are_named_exist() -> None:
    named = set(_FILE.findall(PAGE.read_text("utf-8")))
    places = [ROOT, ROOT / "worker"]

    assert len(named) > 30
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


@pytest.mark.parametrize("folder", ["steps", "services"])
def test_each_file_of_a_message_s_way_is_named(folder: str) -> None:
    text = _PARTS.sub("", PAGE.read_text("utf-8"))
    files = {file.name for file in (ROOT / "worker" / folder).glob("*.py")} - {"__init__.py"}

    assert {name for name in files if f"`{folder}/{name}`" not in text} == set()


def test_the_contract_s_layers_are_all_that_lies_in_the_worker() -> None:
    named = {name for layer in layers() for name in layer}
    there = {path.stem for path in (ROOT / "worker").iterdir() if path.suffix == ".py" or path.is_dir()}

    assert named == there - {"__init__", "__pycache__"}
