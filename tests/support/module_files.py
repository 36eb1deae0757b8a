"""The files that a module may execute, as the digest of its code follows them."""

from __future__ import annotations

from pathlib import Path

from forecast.system.code_closure import follow_imports
from tests.support.small_project import ROOT


def module_files(module: str, root: Path = ROOT, *, found_by_name: bool = True) -> list[Path]:
    """Sorted, relative to `root`."""
    files = follow_imports((module,), root, found_by_name)
    return sorted(file.relative_to(root) for file in files)
