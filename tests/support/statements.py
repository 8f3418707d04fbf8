"""The tests read here what a statement of `queries.sql` writes, and which method runs it."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from worker.postgres.sql import load_queries

ROOT = Path(__file__).parents[2]
_COMMENT = re.compile(r"--.*")
# The columns in parentheses, or all that is set: up to the condition.
_INSERT = r"\binsert into {table}\s*\((?P<columns>[^)]*)\)"
_UPDATE = r"\bupdate {table}\s+set\b(?P<assignments>.*?)(?=\bwhere\b|\Z)"
_DELETE = r"\bdelete from {table}\b"
# The functions of the tables that insert, delete or move requests, and those that write leases.
_MOVES = re.compile(r"\b(retire_requests|claim_waiting)\(")
_LEASES = re.compile(r"\bclaim_waiting\(")


class Method(NamedTuple):
    name: str  # with its class
    file: str


@cache
def methods_by_statement() -> dict[str, list[Method]]:
    """Return, for each statement, the methods that run it."""
    found: dict[str, list[Method]] = {}
    for method, body in _methods().items():
        for statement in _run_by(body):
            found.setdefault(statement, []).append(method)
    return found


def method_names() -> set[str]:
    """Return every method of the worker, with its class."""
    return {method.name for method in _methods()}


@cache
def _methods() -> dict[Method, ast.AST]:
    return {
        Method(f"{class_.name}.{method.name}", str(file.relative_to(ROOT))): method
        for file in sorted((ROOT / "worker").rglob("*.py"))
        for class_ in ast.parse(file.read_text("utf-8")).body
        if isinstance(class_, ast.ClassDef)
        for method in class_.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _run_by(method: ast.AST) -> set[str]:
    """Return the statements that a method names in a call of the database."""
    return {
        call.args[0].value
        for call in ast.walk(method)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("call", "once")
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def that_move_requests() -> set[str]:
    """Return the statements that insert or delete a request, or set its status or attempt."""
    every = load_queries() | load_queries("setup.sql")
    return {name for name, sql in every.items() if moves_requests(sql)}


def moves_requests(sql: str) -> bool:
    text = _COMMENT.sub("", sql)
    sets = [match["assignments"] for match in _found(_UPDATE, "requests", text)]
    return bool(
        _found(_INSERT, "requests", text)
        or _found(_DELETE, "requests", text)
        or _MOVES.search(text)
        or any(re.search(r"\b(status|attempt)\s*=", assignments) for assignments in sets)
    )


def that_write_leases() -> set[str]:
    """Return the statements that insert, update or delete a lease."""
    texts = {name: _COMMENT.sub("", sql) for name, sql in load_queries().items()}
    return {
        name
        for name, text in texts.items()
        if _LEASES.search(text) or any(_found(form, "leases", text) for form in (_INSERT, _UPDATE, _DELETE))
    }


def _found(form: str, table: str, text: str) -> list[re.Match[str]]:
    return list(re.finditer(form.format(table=table), text, re.DOTALL))
