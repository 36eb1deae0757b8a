"""The project's own lint: no name that says nothing, in the step `make lint`.

    python -m tests.support.plain_names forecast pipelines tests bench docs

A variable, parameter, field or function is named by what it holds or does. The words below stand
for a missing noun or verb (`found`, `own`, `about`): nothing is bound to one of them alone, and no
function is named by a participle alone. Exit code 1 with every place, 0 where there is none.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILLERS = frozenset(
    {
        "about",
        "again",
        "anew",
        "another",
        "apart",
        "asked",
        "behind",
        "beside",
        "beyond",
        "elsewhere",
        "everybody",
        "found",
        "gone",
        "held",
        "here",
        "inside",
        "kept",
        "later",
        "made",
        "named",
        "noted",
        "one",
        "own",
        "placed",
        "said",
        "seen",
        "shown",
        "stated",
        "taken",
        "thing",
        "things",
        "told",
        "turned",
        "wanted",
    }
)
PARTICIPLES = FILLERS | frozenset(
    {
        "begun",
        "chosen",
        "compared",
        "counted",
        "drawn",
        "filled",
        "given",
        "known",
        "left",
        "listed",
        "marked",
        "opened",
        "ordered",
        "padded",
        "passed",
        "place",
        "scored",
        "spent",
        "stored",
        "validated",
        "written",
    }
)
PROPERTIES = {"property", "cached_property", "contextmanager", "model_validator", "field_validator"}
"""A property or a context manager may be a noun or a participle: it is read as a value."""


def vague_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that is bound to a filler word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _core(node.name) in PARTICIPLES and not _is_read_as_value(node):
                yield node.lineno, node.name
            continue
        name = _bound_name(node)
        if name is not None and _core(name) in FILLERS:
            yield getattr(node, "lineno", 0), name


def _bound_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return node.name
    return None


def _core(name: str) -> str:
    return name.strip("_0123456789").removeprefix("get_").removeprefix("do_")


def _is_read_as_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(node).split("(")[0] for node in function.decorator_list}
    return bool(PROPERTIES & {name.rpartition(".")[2] for name in decorators})


def main(roots: list[str]) -> int:
    """Print every vague name below `roots`; 1 where there is one."""
    places = [
        f"{path}:{line}: `{name}` says nothing of what it holds or does"
        for root in roots
        for path in sorted(Path(root).rglob("*.py"))
        for line, name in vague_names(ast.parse(path.read_text(encoding="utf-8")))
    ]
    print("\n".join(places) or "Every name says something.")
    return int(bool(places))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
