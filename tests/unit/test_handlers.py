"""The author of a handler imports from one place; the former places still work, and warn."""

import importlib
import sys

import pytest

from worker import errors, handlers


@pytest.mark.parametrize("name", ["Rejected", "RetryLater"])
def test_what_a_handler_raises_is_found_in_its_former_place(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"import {name} from worker.handlers"):
        former = getattr(errors, name)

    assert former is getattr(handlers, name)


def test_another_name_is_not_found_there() -> None:
    assert not hasattr(errors, "Other")


def test_what_a_handler_is_called_with_is_found_in_its_former_place() -> None:
    sys.modules.pop("worker.creator", None)
    with pytest.warns(DeprecationWarning, match="from worker.handlers"):
        former = importlib.import_module("worker.creator")

    assert former.Context is handlers.Context
    assert former.Handler is handlers.Handler
