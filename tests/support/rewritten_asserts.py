"""What pytest makes of the asserts of test modules, made once: in a fresh clone each of the workers
would make it of every module, since they begin together.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

FILES = ("conftest.py", "test_*.py")
"""Those whose asserts pytest rewrites."""


def rewrite_asserts(folder: Path, config: pytest.Config) -> None:
    """Write what is missing, or of an earlier text, beside the modules in `folder`, where pytest
    looks for it. Nothing with a pytest that does it by other functions, with `--assert=plain`, in a
    folder that cannot be written, and of a module that cannot be read, which its collection tells.
    """
    with contextlib.suppress(ImportError):
        from _pytest.assertion.rewrite import (
            PYC_TAIL,
            _read_pyc,
            _rewrite_test,
            _write_pyc,
            assertstate_key,
            get_cache_dir,
            try_makedirs,
        )

        state = config.stash.get(assertstate_key, None)
        if state is None:
            return
        for path in sorted(path for pattern in FILES for path in folder.rglob(pattern)):
            cached = get_cache_dir(path) / f"{path.stem}{PYC_TAIL}"
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                if _read_pyc(path, cached) is None and try_makedirs(cached.parent):
                    digest, code = _rewrite_test(path, config)
                    _write_pyc(state, code, digest, cached)
