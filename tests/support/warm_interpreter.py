"""Programs in processes of their own that begin with the libraries loaded: an interpreter that
starts and imports them takes two to three CPU seconds. The project's code is read anew by each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIBRARIES = (
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "typer",
    "yaml",
    "scipy.stats",
    "filelock",
    "psutil",
    "dvc",
    "mlflow",
)
SERVER = r"""
import importlib, json, os, runpy, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    process = os.fork()
    if not process:
        for number, name in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
            os.dup2(os.open(name, os.O_RDWR), number)
        os.chdir(asked["cwd"])  # from where the code is imported: the first place is ""
        os.environ.clear()
        os.environ.update(asked["environment"])
        option, program, *arguments = asked["words"]
        sys.argv = [option, *arguments]
        if option == "-c":
            exec(program, {"__name__": "__main__"})
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class WarmInterpreter:
    """`run` has what tests need of `subprocess.run`: one `python -m` or `python -c` at a time."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: Any
    ) -> subprocess.CompletedProcess[str]:
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as error:
            asked = {"words": command[1:], "cwd": str(cwd), "environment": dict(env)}
            asked |= {"stdout": out.name, "stderr": error.name}
            print(json.dumps(asked), file=self._server.stdin, flush=True)
            code = int(self._server.stdout.readline())
            texts = [Path(file.name).read_text(encoding="utf-8") for file in (out, error)]
        return subprocess.CompletedProcess(command, code, *texts)


@contextmanager
def started() -> Iterator[WarmInterpreter]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *LIBRARIES],
        cwd=tempfile.gettempdir(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield WarmInterpreter(server)
