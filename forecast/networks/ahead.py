"""Compiling the native kernels ahead of the first tuning of a clone, for which its workers would
wait: `compile_ahead`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecast.system.processes import end_with_this_process

SCRIPT = "from forecast.networks.layers import fused; fused.register_recurrences()"


@contextmanager
def compile_ahead(root: Path) -> Iterator[None]:
    """While the block works, a process of its own, in `root`, compiles the kernels, unless they are
    newer than their code or switched off: eleven CPU seconds, of which the stages before the first
    tuning leave a core idle for longer. The process ends with the block at the latest.
    """
    try:
        from forecast.networks import native
    except ImportError:  # switched off
        yield
        return
    folder = Path(native.__file__).parent
    newest_code = max(path.stat().st_mtime for path in folder.glob("*.py"))
    compiled = [path.stat().st_mtime for path in folder.glob("__pycache__/*.nbi")]
    if max(compiled, default=0.0) >= newest_code:
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_this_process,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
