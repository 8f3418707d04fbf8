"""Writes docs/python.md: what programs and tests import, with its signatures and docstrings."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

_HEAD = """\
# Python

What a program imports: the client, what a handler needs, and what tests of a handler need. `make generate`
makes this page from the code. The examples with `>>>` are run by tests; `url` stands for a broker's address.
"""
_OF_HANDLERS = ("handler", "Context", "Rejected", "RetryLater", "Handler", "PlainHandler", "Lifespan")
# Each module, which a program imports from `session_worker`, with its names; None: those that it says itself.
_PARTS = {
    "worker.client": None,
    "worker.handlers": _OF_HANDLERS,
    "worker.testing": None,
    "worker.testing.running": ("StartWorker", "Running"),
}
_LONG = 90  # of a line
_SET = re.compile(r"(?<=\S)=(?=\S)")
_NO_VALUE = re.compile(r" = _\w+$")  # a default that means something inside alone
_FIRST = ("Client", "call")  # what most people look for
_MADE_BY_HAND = ("Client", "Rejected", "RetryLater", "Clock", "ManualClock")  # of the classes that say how


def page() -> str:
    lines = [line for module, names in _PARTS.items() for line in _module(module, names)]
    return re.sub(r"\n{3,}", "\n\n", f"{_HEAD}\n" + "\n".join(lines)).rstrip() + "\n"


def _module(name: str, names: tuple[str, ...] | None) -> Iterator[str]:
    module = importlib.import_module(name)
    yield from (f"## session_{name}", "", *_prose(inspect.getdoc(module) or ""), "")
    wanted = names or sorted(module.__all__, key=lambda name: (name not in _FIRST, name.lower()))
    elsewhere = []
    for each in wanted:
        home, node = _definition(module, each)
        if home.__name__.startswith("schemas"):
            elsewhere.append(f"[`{each}`](asyncapi.md#{each.lower()})")
        else:
            yield from _shown(each, home, node)
    if elsewhere:
        yield from (f"Also here, from the contract: {', '.join(elsewhere)}.", "")


def _definition(module: ModuleType, name: str) -> tuple[ModuleType, ast.stmt]:
    """Find where a name is defined: here, or where it is imported from."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and name in [each.name for each in node.names]:
            return _definition(importlib.import_module(node.module or ""), name)
        if isinstance(node, ast.Try):
            for inner in node.body:
                if isinstance(inner, ast.ImportFrom) and name in [each.name for each in inner.names]:
                    return _definition(importlib.import_module(inner.module or ""), name)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return module, node
    raise LookupError(f"{module.__name__} has no {name}")


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(_text(module))


@cache
def _text(module: ModuleType) -> str:
    return Path(module.__file__ or "").read_text("utf-8")


def _shown(name: str, home: ModuleType, node: ast.stmt) -> Iterator[str]:
    yield from (f"### {name}", "")
    match node:
        case ast.ClassDef():
            yield from _class(home, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (*_code(_signature(node)), *_prose(ast.get_docstring(node) or ""), "")
        case _:
            yield from (*_code(ast.unparse(node)), *_prose(_comment(home, node)), "")


def _comment(home: ModuleType, node: ast.stmt) -> str:
    """Return what is said of a name: in the comment above it, or in the string below."""
    body = _tree(home).body
    following = body[body.index(node) + 1 :]
    if following and isinstance(following[0], ast.Expr) and isinstance(following[0].value, ast.Constant):
        return str(following[0].value.value)
    lines = _text(home).splitlines()[: node.lineno - 1]
    said: list[str] = []
    while lines and lines[-1].startswith("# "):
        said.insert(0, lines.pop().removeprefix("# "))
    return "\n".join(said)


def _class(home: ModuleType, node: ast.ClassDef) -> Iterator[str]:
    functions = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    made = next((each for each in functions if each.name == "__init__"), None)
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    if made and node.name in _MADE_BY_HAND:
        yield from _code(_signature(made).replace("def __init__", node.name).removesuffix(" -> None"))
    elif fields:
        yield from _code(f"class {node.name}:", *(f"    {_field(home, each)}" for each in fields))
    else:
        yield from _code(f"class {node.name}({bases})" if bases else f"class {node.name}")
    yield from (*_prose(ast.get_docstring(node) or ""), "")
    if made and (said := ast.get_docstring(made)):
        yield from (*_prose(said), "")
    if made and (has := [f"`{name}`" for name in _attributes(made)]):
        yield from (f"It has {', '.join(has)}.", "")
    for each in functions:
        if each.name[0] != "_" or each.name == "__call__":
            yield from (f"#### `{node.name}.{each.name}`", "", *_code(_signature(each)))
            yield from (*_prose(ast.get_docstring(each) or ""), "")


def _attributes(made: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Find what a constructor leaves for everybody to read."""
    for each in ast.walk(made):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and each.attr[0] != "_":
            yield each.attr


def _field(home: ModuleType, node: ast.AnnAssign) -> str:
    shown = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation).strip(chr(39))}"
    if node.value is not None and not ast.unparse(node.value).startswith("field("):
        shown += f" = {ast.unparse(node.value)}"
    comment = _text(home).splitlines()[node.lineno - 1].partition("  # ")[2]
    return f"{shown}  # {comment}" if comment else shown


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Write how a function is called, without `self`; each argument by itself where the line gets long."""
    kind = next((f"@{name}\n" for name in map(ast.unparse, node.decorator_list) if name == "property"), "")
    head = ("async " if isinstance(node, ast.AsyncFunctionDef) else "") + f"def {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = [each for each in _arguments(ast.unparse(node.args)) if each not in ("self", "")]
    line = f"{head}({', '.join(arguments)}){returns}"
    if len(line) > _LONG:
        line = f"{head}(\n" + "".join(f"    {each},\n" for each in arguments) + f"){returns}"
    return kind + line


def _arguments(text: str) -> list[str]:
    """Split arguments at the commas that are in no brackets, and lay each out as our code is."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [_NO_VALUE.sub(" = ...", _SET.sub(" = ", part.strip(), count=1)) for part in parts]


def _code(*lines: str) -> Iterator[str]:
    yield from ("```py", *(line.replace("'", '"') for line in lines), "```", "")


def _prose(text: str) -> Iterator[str]:
    """Write a docstring as Markdown: its examples in a fence."""
    inside = False
    for line in inspect.cleandoc(text).splitlines():
        if line.startswith(">>>") and not inside:
            inside = True
            yield "```pycon"
        elif not line and inside:
            inside = False
            yield "```"
        yield line
    if inside:
        yield "```"
