"""Which of the project's files a module runs: the static import graph, function-level imports included.

Two uses: the deps of dvc.yaml are checked against it, and trained models are kept under a digest of the code they
depend on, so that an edit costs exactly what it can change.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("forecast", "pipelines")
_FINDS_BY_NAME = ("import_module", "iter_modules")


def closure(module: str, root: Path = PROJECT, *, found_by_name: bool = True) -> list[Path]:
    """Files below `root` that importing and running `module` may execute, sorted, relative to `root`.

    A package that finds its members by file name (`pkgutil.iter_modules`, `importlib.import_module`) brings all of
    them, unless `found_by_name` is False: then only those imported by statement. `TYPE_CHECKING` imports do not run.
    """
    return _closure((module,), root, found_by_name)


def code_digest(modules: Iterable[str], root: Path = PROJECT, *, found_by_name: bool = False) -> str:
    """The digest of what the closure of `modules` computes: comments, docstrings and layout do not change it.

    Members found by name are not followed by default: name the one that is used, such as `forecast.models.lstm`.
    """
    total = hashlib.sha256()
    for path in _closure(tuple(sorted(modules)), root, found_by_name):
        meaning = _meaning(root / path, (root / path).stat().st_mtime_ns)
        total.update(f"{path.as_posix()}\0{meaning}\0".encode())
    return total.hexdigest()


def _closure(modules: tuple[str, ...], root: Path, found_by_name: bool) -> list[Path]:
    missing = [name for name in modules if _file(name, root) is None]
    if missing:
        raise ValueError(f"no module {missing[0]!r} below {root}")
    seen: set[str] = set()
    waiting = [part for module in modules for part in _with_parents(module)]
    while waiting:
        name = waiting.pop()
        file = _file(name, root)
        if name in seen or file is None:
            continue
        seen.add(name)
        for target in _targets(name, file, root, found_by_name):
            waiting += _with_parents(target)
    files = {file for name in seen if (file := _file(name, root)) is not None}
    return sorted(file.relative_to(root) for file in files)


def _with_parents(module: str) -> list[str]:
    """`a.b.c` executes `a/__init__.py` and `a/b/__init__.py` first."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _file(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    place = root.joinpath(*module.split("."))
    package = place / "__init__.py"
    plain = place.with_suffix(".py")
    return package if package.exists() else plain if plain.exists() else None


def _targets(module: str, file: Path, root: Path, found_by_name: bool) -> list[str]:
    package = module if _is_package(file) else module.rpartition(".")[0]
    imported, finds = _imports(file, file.stat().st_mtime_ns, package)
    # `from a import b` names a module of `a` or an attribute of it: both are tried.
    targets = [name for name in imported if _file(name, root) is not None]
    if found_by_name and finds and _is_package(file):
        targets += [f"{module}.{member}" for member in _members(file.parent)]
    return targets


def _is_package(file: Path) -> bool:
    return file.name == "__init__.py"


def _members(folder: Path) -> list[str]:
    plain = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    return sorted(plain + [path.parent.name for path in folder.glob("*/__init__.py")])


@cache
def _imports(file: Path, _changed: int, package: str) -> tuple[tuple[str, ...], bool]:
    """(names imported anywhere in the file, whether it finds modules by name)."""
    tree = _parse(file)
    names: list[str] = []
    for node in _running(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    called = {_called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return tuple(dict.fromkeys(names)), bool(called & set(_FINDS_BY_NAME))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from (other, *_running(other))
            continue
        yield child
        yield from _running(child)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def _meaning(file: Path, _changed: int) -> str:
    tree = _parse(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _is_text(
            node.body[:1]
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _is_text(body: list[ast.stmt]) -> bool:
    value = body[0].value if body and isinstance(body[0], ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
