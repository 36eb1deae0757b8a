"""Which of the project's files a module runs (`follow_imports`), and the digest of what they
compute (`code_digest`): the static import graph, function-level imports included, nothing executed.

Stages run again, and trained models are kept, by a digest of the code that they depend on: an edit
costs exactly what it can change.

Comments, docstrings and layout change no digest; of modules found by file name only those that are
named count. What a file says is kept beside Python's bytecode, by its size and time of change.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

from forecast.system import files
from forecast.system.errors import ForecastError
from forecast.system.processes import pause_garbage_collection

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("forecast", "pipelines")
_FINDS_BY_NAME = ("import_module", "iter_modules")


def code_digest(
    modules: Iterable[str], root: Path = PROJECT, *, found_by_name: bool = False
) -> str:
    """The digest of what the closure of `modules` computes: comments, docstrings and layout do not
    change it.

    Members found by name are not followed by default: name the one that is used, such as
    `models.families.lstm`.
    """
    total = hashlib.sha256()
    with pause_garbage_collection():
        sources = follow_imports(tuple(sorted(modules)), root, found_by_name)
    for file in sorted(sources):
        total.update(f"{_relative_name(file, root).as_posix()}\0{sources[file].digest}\0".encode())
    return total.hexdigest()


@dataclass(frozen=True)
class _SourceFile:
    """One file: its stamp when it was read (`_stamp_of`), what it imports anywhere, whether it
    finds modules by name, the digest of what it computes.
    """

    stamp: str
    imported: list[str]
    finds_by_name: bool
    digest: str


def follow_imports(
    modules: tuple[str, ...], root: Path, found_by_name: bool
) -> dict[Path, _SourceFile]:
    """Every file of the project at `root` that importing and running `modules` may execute, with
    what it says; `ValueError` for a module that is not there. A file may lie elsewhere
    (`_find_package`, `_list_added`).

    A package that finds its members by file name (`pkgutil.iter_modules`,
    `importlib.import_module`) brings all of them with `found_by_name`; else only those imported by
    statement. `TYPE_CHECKING` imports do not run.
    """
    # listed for this call alone: files may come and go between two
    files_by_module = _list_modules(root)
    missing = [name for name in modules if name not in files_by_module]
    if missing:
        raise ValueError(f"no module {missing[0]!r} below {root}")
    sources: dict[str, tuple[Path, _SourceFile]] = {}
    known = _read_known(root)
    reader_stamp = _stamp_of(Path(__file__))
    count_read = 0
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources or name not in files_by_module:
            continue
        file = Path(files_by_module[name])
        parent = name.rpartition(".")[0]
        is_package = file.name == "__init__.py"
        package = name if is_package else parent
        stamp = f"{_stamp_of(file)} {reader_stamp}"
        source = known.get(name)
        if source is None or source.stamp != stamp:
            source = known[name] = _read_source(file, stamp, package)
            count_read += 1
        sources[name] = file, source
        # `from a import b` names a module of `a` or an attribute of it: both are tried.
        targets = [target for target in source.imported if target in files_by_module]
        if found_by_name and source.finds_by_name and is_package:
            targets += [module for module in files_by_module if module.rpartition(".")[0] == name]
        # `a.b.c` executes `a/__init__.py` and `a/b/__init__.py` first
        waiting += [*targets, parent]
    if count_read:
        _keep_known(root, known)
    return dict(sources.values())


def _stamp_of(file: Path) -> str:
    """Time of change and size, by which Python trusts its bytecode too."""
    status = file.stat()
    return f"{status.st_mtime_ns} {status.st_size}"


def _known_file(root: Path) -> Path:
    # the tree of the same text is another one under another Python
    return root / "forecast" / "__pycache__" / f"sources.{sys.implementation.cache_tag}.json"


@cache
def _read_known(root: Path) -> dict[str, _SourceFile]:
    """What this process or an earlier one read of each file, by module: one dictionary for the
    whole process, to which `follow_imports` adds.
    """
    try:
        content = files.read_json(_known_file(root))
        return {name: _SourceFile(**fields) for name, fields in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep_known(root: Path, known: dict[str, _SourceFile]) -> None:
    """For the processes to come: to parse the code takes half of a second in each."""
    if not (root / "forecast").is_dir():
        return  # a project with stages of its own, whose code lies elsewhere
    content = {name: vars(source) for name, source in known.items()}
    # a folder that is not ours or a full disk: the next process parses again
    with suppress(OSError, ForecastError):
        files.write_json(_known_file(root), content)


def _list_modules(root: Path) -> dict[str, str]:
    """The file of every module of this project, by name.

    Every folder is listed once: most names that code imports are no module's, but a function's.
    """
    modules: dict[str, str] = {}
    for package in PACKAGES:
        top = str(_find_package(package, root))
        for folder, _, names in os.walk(top):
            name = f"{package}{folder[len(top) :]}".replace(os.sep, ".")
            modules |= _list_files(name, folder, names)
            if "__init__.py" in names:
                modules[name] = os.path.join(folder, "__init__.py")  # noqa: PTH118
    if root != PROJECT:
        return modules
    return _list_added({name.rpartition(".")[0] for name in modules}) | modules


def _list_files(package: str, folder: str, names: list[str]) -> dict[str, str]:
    """The files among the `names` in a folder of a package, by the module that each is."""
    return {
        f"{package}.{name.removesuffix('.py')}": os.path.join(folder, name)  # noqa: PTH118
        for name in names
        if name.endswith(".py")
    }


def _list_added(packages: set[str]) -> dict[str, str]:
    """What is in folders that a caller, such as a notebook with a cell of its own, added to the
    `__path__` of one of the packages.
    """
    modules: dict[str, str] = {}
    for name in packages:
        folders = getattr(sys.modules.get(name), "__path__", ())
        for folder in filter(os.path.isdir, folders if len(folders) > 1 else ()):
            modules = _list_files(name, folder, os.listdir(folder)) | modules  # noqa: PTH208
    return modules


def _find_package(package: str, root: Path) -> Path:
    """Where a package lies: below `root`, or, as the stages of a project of one's own, beside what
    started this.
    """
    folder = root / package
    if folder.exists() or root != PROJECT:
        return folder
    specification = importlib.util.find_spec(package)
    if specification is None or not specification.origin:
        return folder
    return Path(specification.origin).parent


def _relative_name(file: Path, root: Path) -> Path:
    """How a file is named: from `root`, or from the folder that holds its package."""
    if file.is_relative_to(root):
        return file.relative_to(root)
    package = next((parent for parent in file.parents if parent.name in PACKAGES), file.parent)
    return file.relative_to(package.parent)


def _is_for_types_alone(test: ast.expr) -> bool:
    return isinstance(test, ast.Name | ast.Attribute) and "TYPE_CHECKING" in ast.dump(test)


def _read_source(file: Path, stamp: str, package: str) -> _SourceFile:
    """What a file imports, calls and defines, and a digest of its code without docstrings and
    comments; `stamp` tells later whether the file has changed.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    for node in ast.walk(tree):
        if _is_documented(node):
            del node.body[0]
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


def _is_documented(
    node: ast.AST,
) -> TypeGuard[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
