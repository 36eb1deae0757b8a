"""Pages of docs/learn with Python in them: run from top to bottom, and as notebooks for Jupyter.

A page is Markdown; each fenced block of `python` is a cell, each of `sh` a cell of commands. What a
cell prints, the value of its last expression and its figures come below it, as in a notebook; the
sources hold no outputs.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TABLE_ROWS = 12


class CellError(Exception):
    """A cell of a page ended with an error; the page, the cell and the error."""


def cells(text: str) -> Iterator[tuple[str, str]]:
    """The page in its parts: ("markdown" | "python" | "sh", content)."""
    end = 0
    for code_block in BLOCK.finditer(text):
        if text[end : code_block.start()].strip():
            yield "markdown", text[end : code_block.start()].strip()
        yield code_block[1], code_block[2].rstrip("\n")
        end = code_block.end()
    if text[end:].strip():
        yield "markdown", text[end:].strip()


def run(page: Path, folder: Path) -> str:
    """`executed` in a process and a temporary folder of its own; figures go to `folder`."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "docs.notebooks",
        str(page),
        str(folder.resolve()),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CellError(done.stderr)
    return (folder / page.name).read_text(encoding="utf-8")


def use_committed_files(folder: Path) -> None:
    """Let this process take the catalogue of models, the budgets and the data of Dublin as the
    commit has them, so that a page shows the project's and not what a clone's owner changed.
    """
    from forecast.api import installation
    from forecast.system import files

    patterns = ("configs/**", "data/pointers/*", "data/snapshots/**", "pyproject.toml")
    contents = committed_files(ROOT, patterns)
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
    # without a repository, as in an unpacked sdist, the files are those of the package
    if contents:
        installation.CLONE = folder


def committed_files(root: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Relative name → content at HEAD of the files that match; empty outside of a clone, and where
    one of the patterns matches nothing.
    """
    if not (root / ".git").exists() or shutil.which("git") is None:
        return {}
    # without `:(glob)` git's `*` crosses folders
    pathspecs = [f":(glob){pattern}" for pattern in patterns]
    command = ["git", "archive", "--format=zip", "HEAD", "--", *pathspecs]
    archive = subprocess.run(command, cwd=root, capture_output=True, check=False)
    if archive.returncode:
        return {}
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as packed:
        return {name: packed.read(name) for name in packed.namelist() if not name.endswith("/")}


def executed(text: str, name: str, pictures: Path, work: Path) -> str:
    """The page with the outputs below its cells; cells run in `work`, figures go to `pictures`.

    `CellError` at the first cell that ends with an error.
    """
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    parts: list[str] = []
    with contextlib.chdir(work):
        for kind, content in cells(text):
            if kind == "markdown":
                parts.append(content)
                continue
            parts.append(f"```{kind}\n{content}\n```")
            try:
                outputs = (
                    _commands(content) if kind == "sh" else _python(content, names, name, pictures)
                )
            except Exception as error:
                raise CellError(f"{name}, cell\n{content}\n{traceback.format_exc()}") from error
            parts += outputs
    return "\n\n".join(parts) + "\n"


def _python(content: str, names: dict[str, Any], name: str, pictures: Path) -> list[str]:
    """The outputs of one cell: what it printed, then the value of its last expression."""
    tree = ast.parse(content)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, name, "exec"), names)  # noqa: S102  (pages of this project)
        value = eval(compile(ast.Expression(last.value), name, "eval"), names) if last else None  # noqa: S307
    outputs = [_text(printed.getvalue())] if printed.getvalue().strip() else []
    return outputs if value is None else [*outputs, _rendered_value(value, name, pictures)]


def _commands(content: str) -> list[str]:
    """The outputs of commands, `forecast` being that of this interpreter."""
    folder = str(Path(sys.executable).parent)
    path = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "COLUMNS": "110",
    }
    done = subprocess.run(
        ["bash", "-euc", content], env=path, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return [_text("\n".join(lines))] if any(lines) else []


def _rendered_value(value: Any, name: str, pictures: Path) -> str:
    if hasattr(value, "savefig"):
        number = len(list(pictures.glob(f"{name}-*.png"))) + 1
        picture = pictures / f"{name}-{number}.png"
        value.savefig(picture, dpi=110)
        return f"![Output of the cell above]({picture.name})"
    if hasattr(value, "to_html"):
        table = value.head(TABLE_ROWS).to_html(border=0, float_format=lambda x: f"{x:.4g}")
        return re.sub(r' class="dataframe"| style="text-align: right;"', "", table)
    return _text(repr(value))


def _text(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def notebook(text: str) -> str:
    """The page as .ipynb without outputs (nbformat 4.5)."""
    notebook_cells = []
    for number, (kind, content) in enumerate(cells(text)):
        source = f"%%bash\n{content}" if kind == "sh" else content
        cell: dict[str, Any] = {
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        code = {"cell_type": "code", "execution_count": None, "outputs": []}
        notebook_cells.append(
            {**cell, **({"cell_type": "markdown"} if kind == "markdown" else code)}
        )
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return (
        json.dumps(
            {"cells": notebook_cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5},
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    with (
        tempfile.TemporaryDirectory(prefix="committed-") as committed,
        tempfile.TemporaryDirectory(prefix="learn-") as folder,
    ):
        use_committed_files(Path(committed))
        page = executed(source.read_text(encoding="utf-8"), source.stem, target, Path(folder))
    (target / source.name).write_text(page, encoding="utf-8")
