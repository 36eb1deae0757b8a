"""The static import graph of a module (`follow_imports`) and the digest of its code
(`code_digest`).

A stage runs again, and a trained model is made again, when the digest of the code that it depends
on has changed. Imports inside functions count; nothing is executed. Comments, docstrings and layout
do not enter the digest. Parsed files are cached beside Python's bytecode, by size and time of
change.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from forecast.system import files
from forecast.system.errors import ForecastError, InputError, quote_names
from forecast.system.processes import pause_garbage_collection

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("forecast", "pipelines")
_FINDS_BY_NAME = ("import_module", "iter_modules")


def code_digest(
    modules: Iterable[str], root: Path = PROJECT, *, found_by_name: bool = False
) -> str:
    """The digest of the code of `modules` and of all that they import, without comments, docstrings
    and layout.

    By default modules that are imported by file name (`import_module`) are not followed: add the
    one that is used, such as `models.families.lstm`, to `modules`.
    """
    total = hashlib.sha256()
    with pause_garbage_collection():
        sources = follow_imports(tuple(sorted(modules)), root, found_by_name)
    for file in sorted(sources):
        total.update(f"{_relative_name(file, root).as_posix()}\0{sources[file].digest}\0".encode())
    return total.hexdigest()


@dataclass(frozen=True)
class _SourceFile:
    """What was parsed from one file."""

    stamp: str
    """`_stamp_of` the file and of this module when it was parsed."""
    imported: list[str]
    finds_by_name: bool
    """Whether it imports modules by file name (`_FINDS_BY_NAME`)."""
    digest: str
    """SHA-256 of its syntax tree without docstrings and descriptions of constants."""


def follow_imports(
    modules: tuple[str, ...], root: Path, found_by_name: bool
) -> dict[Path, _SourceFile]:
    """Every file that importing and running `modules` of the project at `root` may execute.

    found_by_name: also follow all members of a package that imports its members by file name
    (`pkgutil.iter_modules`, `importlib.import_module`) in its own top file, but not those that
    another module imports so: the package `models` finds the members of its package `families`,
    which are not followed. Imports under `TYPE_CHECKING` do not count. A file may lie outside
    `root` (`_find_package`, `_list_added`). `InputError` for a missing module.
    """
    # listed at every call: files may come and go between two calls
    files_by_module = _list_modules(root)
    missing = [name for name in modules if name not in files_by_module]
    if missing:
        raise InputError(
            f"Module {missing[0]!r}: found in none of {quote_names(PACKAGES)} below {root}, wanted"
            " in one of them, whose changes lead to new results. Move what a model uses of it, such"
            " as a loss, into a file there, and import it from there."
        )
    sources: dict[str, tuple[Path, _SourceFile]] = {}
    cache_of_sources = _read_cache(root)
    reader_stamp = _stamp_of(Path(__file__))
    count_read = 0
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources or name not in files_by_module:
            continue
        file = files_by_module[name]
        parent = name.rpartition(".")[0]
        is_package = file.name == "__init__.py"
        package = name if is_package else parent
        stamp = f"{_stamp_of(file)} {reader_stamp}"
        source = cache_of_sources.get(name)
        if source is None or source.stamp != stamp:
            source = cache_of_sources[name] = _read_source(file, stamp, package)
            count_read += 1
        sources[name] = file, source
        # `from a import b` names a module of `a` or an attribute of it: both are tried.
        targets = [target for target in source.imported if target in files_by_module]
        if found_by_name and source.finds_by_name and is_package:
            targets += [module for module in files_by_module if module.rpartition(".")[0] == name]
        # `a.b.c` executes `a/__init__.py` and `a/b/__init__.py` first
        waiting += [*targets, parent]
    if count_read:
        _write_cache(root, cache_of_sources)
    return dict(sources.values())


def _stamp_of(file: Path) -> str:
    """The file's time of change and size; Python checks its bytecode by the same two."""
    status = file.stat()
    return f"{status.st_mtime_ns} {status.st_size}"


def _cache_file(root: Path) -> Path:
    # another Python makes another syntax tree of the same text
    return root / "forecast" / "__pycache__" / f"sources.{sys.implementation.cache_tag}.json"


@cache
def _read_cache(root: Path) -> dict[str, _SourceFile]:
    """The files parsed by earlier processes, by module; empty where the cache file is unusable.

    Every call returns the same dictionary, and `follow_imports` adds what it parses.
    """
    try:
        content = files.read_json(_cache_file(root))
        return {name: _SourceFile(**fields) for name, fields in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_cache(root: Path, sources: dict[str, _SourceFile]) -> None:
    """Save the parsed files for later processes; parsing all code takes half a second."""
    if not (root / "forecast").is_dir():
        return  # a project with stages of its own, whose code lies elsewhere
    content = {name: vars(source) for name, source in sources.items()}
    # a folder that is not writable or a full disk: the next process parses again
    with suppress(OSError, ForecastError):
        files.write_json(_cache_file(root), content)


def _list_modules(root: Path) -> dict[str, Path]:
    """The file of every module of this project, by the module's name.

    Listing each folder once is cheaper than looking for a file per imported name: most of these
    names are functions and no modules.
    """
    modules: dict[str, Path] = {}
    for package in PACKAGES:
        top = _find_package(package, root)
        for file in top.rglob("*.py"):
            names = file.relative_to(top).with_suffix("").parts
            modules[".".join((package, *names)).removesuffix(".__init__")] = file
    if root != PROJECT:
        return modules
    return _list_added({name.rpartition(".")[0] for name in modules}) | modules


def _list_added(packages: set[str]) -> dict[str, Path]:
    """The modules in folders that a caller, such as a notebook that defines a cell, added to the
    `__path__` of one of the packages.
    """
    modules: dict[str, Path] = {}
    for name in packages:
        folders = getattr(sys.modules.get(name), "__path__", ())
        for folder in folders if len(folders) > 1 else ():
            added = {f"{name}.{file.stem}": file for file in Path(folder).glob("*.py")}
            modules = added | modules
    return modules


def _find_package(package: str, root: Path) -> Path:
    """The folder of a package: below `root`, or where Python finds it, such as the stages of a
    user's own project.
    """
    folder = root / package
    if folder.exists() or root != PROJECT:
        return folder
    specification = importlib.util.find_spec(package)
    if specification is None or not specification.origin:
        return folder
    return Path(specification.origin).parent


def _relative_name(file: Path, root: Path) -> Path:
    """The file's path relative to `root`; outside of it to the folder that holds the nearest folder
    named in `PACKAGES`, so that it begins with that name, or without one, with its own folder.
    """
    if file.is_relative_to(root):
        return file.relative_to(root)
    package = next((parent for parent in file.parents if parent.name in PACKAGES), file.parent)
    return file.relative_to(package.parent)


def _is_for_types_alone(test: ast.expr) -> bool:
    return isinstance(test, ast.Name | ast.Attribute) and "TYPE_CHECKING" in ast.dump(test)


def _read_source(file: Path, stamp: str, package: str) -> _SourceFile:
    """Parse a file; `stamp` is stored with the result and tells later whether it has changed."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
        elif isinstance(node, ast.If) and _is_for_types_alone(node.test):
            node.body = []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    text = ast.dump(tree)
    finds = any(repr(name) in text for name in _FINDS_BY_NAME)
    return _SourceFile(stamp, names, finds, hashlib.sha256(text.encode()).hexdigest())


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is only a text: a docstring, or what a constant above it means."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
