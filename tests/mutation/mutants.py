"""Makes mutants of a file: the same code with one thing in a function changed, whatever it means.

What is only told (logs, metrics, traces, texts of errors, docstrings, annotations) is left as it is, and so
are the points at which tests have a worker fail.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_REVERSED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_OPPOSITE: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TOLD: Final = re.compile(
    r"^(self\.)?_?(log|metrics|tally|tracing|processing|publishing|fail_point|info_each|note_not_allowed)\b|\.labels\(|_tracing\.|_metrics\."
)
_ENDS_EARLY = (ast.Return, ast.Continue, ast.Break, ast.Raise)
_TEXT = 90


class Mutant(NamedTuple):
    """One change: in which function, what was there, and what is there now."""

    name: str  # the same as long as the function is; `#2` where a function has the change twice
    path: tuple[str, ...]  # classes, and the outermost function
    lines: range  # of the statement, without the statements inside it
    parent: ast.AST
    field: str
    place: int | None  # in the field, where that is a list
    new: ast.AST


class Source:
    """A file that mutants are made of."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._tree = ast.parse(text)
        self._names = Counter[str]()
        self.mutants = list(self._in_body(self._tree.body, ()))

    def compiled(self, mutant: Mutant) -> object:
        """Compile the file with one change. Returns the code of the function that has it."""
        parent, field, index = mutant.parent, mutant.field, mutant.place
        at = getattr(parent, field)
        old = at if index is None else at[index]
        _put(parent, field, index, ast.copy_location(mutant.new, old))
        try:
            code = compile(ast.fix_missing_locations(self._tree), self.file, "exec")
        finally:
            _put(parent, field, index, old)
        for name in mutant.path:
            code = next(one for one in code.co_consts if getattr(one, "co_name", None) == name)
        return code

    def _in_body(self, body: list[ast.stmt], path: tuple[str, ...]) -> Iterator[Mutant]:
        for one in body:
            if isinstance(one, ast.ClassDef):
                yield from self._in_body(one.body, (*path, one.name))
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name != "__repr__":
                yield from self._in_statements(one, (*path, one.name))

    def _in_statements(self, owner: ast.AST, path: tuple[str, ...]) -> Iterator[Mutant]:
        """Change the statements inside a statement, or a function."""
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            for index, one in enumerate(getattr(owner, field, [])):
                if isinstance(one, ast.ExceptHandler | ast.match_case):
                    yield from self._in_statements(one, path)
                elif not _is_told(one):
                    lines = _lines_of(one)
                    for new in _instead_of_statement(one, path[-1]):
                        yield self._made(path, lines, owner, field, index, one, new)
                    yield from self._in_expressions(one, path, lines)
                    yield from self._in_statements(one, path)

    def _in_expressions(self, owner: ast.AST, path: tuple[str, ...], lines: range) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(owner):
            if field in ("annotation", "returns", "args") and not isinstance(owner, ast.Call):
                continue
            if field == "decorator_list" or isinstance(owner, ast.Assert | ast.Raise):
                continue
            several = isinstance(value, list)
            for index, one in enumerate(value if several else [value]):
                if not isinstance(one, ast.expr | ast.comprehension | ast.keyword | ast.withitem):
                    continue
                if isinstance(one, ast.expr):
                    if _is_told(one):
                        continue
                    for new in _instead_of(one, is_test=field in ("test", "ifs")):
                        yield self._made(path, lines, owner, field, index if several else None, one, new)
                yield from self._in_expressions(one, path, lines)

    def _made(
        self, path: tuple[str, ...], lines: range, parent: ast.AST, field: str, index: int | None,
        old: ast.AST, new: ast.AST,
    ) -> Mutant:  # fmt: skip
        before, after = _text(old), "pass" if isinstance(new, ast.Pass) else _text(new)
        name = f"{self.file} {'.'.join(path)}: {before} -> {after}"
        self._names[name] += 1
        if self._names[name] > 1:
            name += f" #{self._names[name]}"
        return Mutant(name, path, lines, parent, field, index, new)


def _instead_of_statement(one: ast.stmt, function: str) -> Iterator[ast.AST]:
    """Leave a statement out, where it is a call, an attribute's value, or a way out."""
    match one:
        case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield()) | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if function != "__init__":
            yield ast.Pass()
        case ast.If(body=[end], orelse=[]) if isinstance(end, _ENDS_EARLY):
            yield ast.Pass()
        case ast.Raise(exc=None):
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(value=None)
    if isinstance(one, ast.AugAssign) and type(one.op) in _REVERSED:
        yield ast.AugAssign(target=one.target, op=_REVERSED[type(one.op)](), value=one.value)


def _instead_of(one: ast.expr, *, is_test: bool) -> Iterator[ast.expr]:
    """Say what could stand for an expression and means something else."""
    yield from _other_operators(one)
    match one:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield inner
        case ast.Constant(value=bool() as value):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value=value + 1)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=words) if name in _OPPOSITE:
            yield ast.Call(func=ast.Name(id=_OPPOSITE[name], ctx=ast.Load()), args=args, keywords=words)
        case ast.Call(func=func, args=[first, second, *others], keywords=words) if (
            not (
                isinstance(second, ast.Constant | ast.Starred)
                or isinstance(first, ast.Constant | ast.Starred)
            )
            and _text(func) not in ("isinstance", "zip")
            and _text(first) != _text(second)
        ):
            yield ast.Call(func=func, args=[second, first, *others], keywords=words)
        case ast.Name() | ast.Attribute() | ast.Call() | ast.Await() | ast.NamedExpr() if is_test:
            yield ast.UnaryOp(op=ast.Not(), operand=one)


def _other_operators(one: ast.expr) -> Iterator[ast.expr]:
    match one:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
            yield ast.Compare(left=left, ops=[_COMPARED[type(op)]()], comparators=[right])
        case ast.BoolOp(op=ast.And(), values=values):
            yield ast.BoolOp(op=ast.Or(), values=values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield ast.BoolOp(op=ast.And(), values=values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _REVERSED:
            yield ast.BinOp(left=left, op=_REVERSED[type(op)](), right=right)


def _is_told(one: ast.AST) -> bool:
    match one:
        case ast.Expr(value=value):
            return isinstance(value, ast.Constant) or _is_told(value)
        case ast.If(test=test):
            return _is_told(test)
        case ast.Await(value=value) | ast.Call(func=value):
            return bool(_TOLD.search(ast.unparse(value)))
        case ast.JoinedStr():
            return True
    return False


def _lines_of(one: ast.stmt) -> range:
    body = getattr(one, "body", None)
    end = body[0].lineno if body else (one.end_lineno or one.lineno) + 1
    return range(one.lineno, max(end, one.lineno + 1))


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node
