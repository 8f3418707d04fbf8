"""The parts of docs/architecture.md that are drawn from the code, between two marks each."""

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence

from support import drawn
from support.statements import ROOT, methods_by_statement

from worker import law

PAGE = ROOT / "docs" / "architecture.md"


def page() -> str:
    """Return the page with each drawn part as the code has it now."""
    parts = {"layers": _layers, "request": _request, "lease": _lease}
    return drawn.page(PAGE, lambda name: "\n".join(parts[name]()) + "\n")


def layers() -> list[list[str]]:
    """Return the layers of the import contract, the highest first, each with the names that stand in it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    return [re.split(r" [|:] ", layer) for layer in contract["layers"]]


def _layers() -> Iterator[str]:
    height = len(layers())
    yield "```"
    for number, names in enumerate(layers()):
        yield f"{height - number:>2}  {'   '.join(map(_shown, names))}"
    yield from ("```", "", "| layer | what stands there | what it says of itself |", "|---|---|---|")
    for number, names in enumerate(layers()):
        for name in names:
            yield f"| {height - number} | `{_shown(name)}` | {_first_paragraph(name)} |"


def _shown(name: str) -> str:
    return f"{name}/" if (ROOT / "worker" / name).is_dir() else f"{name}.py"


def _first_paragraph(name: str) -> str:
    """Return what a module, or a folder, says of itself."""
    path = ROOT / "worker" / name
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split()).replace("|", "\\|")


def _request() -> Iterator[str]:
    yield from _diagram([
        (step.before, step.after, step.statement, f" (attempt + {step.attempts})" if step.attempts else "")
        for step in law.REQUEST
    ])  # fmt: skip
    yield from ("| from | to | attempt | statement | run by | why |", "|---|---|---|---|---|---|")
    for step in law.REQUEST:
        attempt = f"+ {step.attempts}" if step.attempts else ""
        yield _row(step.before, step.after, attempt, f"`{step.statement}`", _method(step), step.why)
    yield from (
        "",
        "| status | an attempt | a response | an error code | a session |",
        "|---|---|---|---|---|",
    )
    for status, has in law.STATES.items():
        there = (has.started, has.finished, has.error_code, has.session)
        yield _row(status, *("yes" if each else "no" for each in there))


def _lease() -> Iterator[str]:
    yield from _diagram([(step.before, step.after, step.statement or step.by, "") for step in law.LEASE])
    yield from ("| from | to | by | statement | run by | why |", "|---|---|---|---|---|---|")
    for step in law.LEASE:
        statement = f"`{step.statement}`" if step.statement else ""
        yield _row(step.before, step.after, step.by, statement, _method(step), step.why)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _diagram(steps: Sequence[tuple[str, str, str, str]]) -> Iterator[str]:
    """Draws an arrow for each two places, with all the statements that lead from one to the other."""
    arrows: dict[tuple[str, str], list[str]] = {}
    effects: dict[tuple[str, str], str] = {}
    for before, after, statement, effect in steps:
        arrows.setdefault((before, after), []).append(statement)
        effects[before, after] = effect
    yield from ("```mermaid", "stateDiagram-v2")
    for (before, after), statements in arrows.items():
        words = f"{', '.join(statements)}{effects[before, after]}"
        yield f"    {_node(before)} --> {_node(after)}: {words}"
    yield from ("```", "")


def _node(place: str) -> str:
    return "[*]" if place in (law.BEGIN, law.GONE) else place.replace(" ", "_")


def _method(step: law.Step | law.LeaseStep) -> str:
    """Return the method with a link to its file."""
    files = {method.file for method in methods_by_statement().get(step.statement, [])}
    return "".join(f"[`{step.function}`](../{file})" for file in files) or f"`{step.function}`"
