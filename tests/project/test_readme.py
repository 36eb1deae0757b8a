"""The README followed: one's own data in its five lines, and the page that `make ui` opens.

`make run`, `make test` and the stages are run by CI and by test_whole_pipeline.py; names by
test_docs.py.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests.faults.processes import eventually
from tests.support import small_project, warm_interpreter
from tests.support.small_project import ROOT


def commented_entry() -> dict:
    """The entry `mine` that stands commented at the end of configs/datasets.yaml."""
    text = (ROOT / "configs" / "datasets.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  # ?(.*)$", text[text.index("  # mine:") :], re.MULTILINE)
    return yaml.safe_load("\n".join(lines))


def test_ones_own_data_in_the_lines_of_the_readme(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "forecast add data/mine.csv" in readme
    assert "data/mine.csv" in commented_entry()["mine"]["source"]["path"]
    root = small_project.write(tmp_path / "project")
    hours = pd.date_range("2024-01-01", periods=1200, freq="h")
    rows = {"Date": hours.strftime("%Y-%m-%d %H:%M"), "T2M": np.sin(np.arange(1200) / 4).round(3)}
    pd.DataFrame(rows).to_csv(root / "data" / "mine.csv", index=False)
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": ["mine"], "datasets": commented_entry()}
    )
    assert "forecast fetch mine" in small_project.command(root, "check").stderr
    for words in (("fetch", "mine"), ("check",)):
        done = small_project.command(root, *words)
        assert done.returncode == 0, done.stderr
    assert "right: 1200 rows of 1 series" in done.stdout
    (root / "data" / "mine.csv").rename(root / "data" / "added.csv")
    added = small_project.command(root, "add", "data/added.csv")
    assert "  added:\n" in added.stdout and "forecast run --dataset added" in added.stdout, (
        added.stderr
    )
    done = small_project.command(root, "check", "added")
    assert done.returncode == 0 and "right: 1200 rows of 1 series" in done.stdout, done.stderr


def test_make_ui_opens_mlflow_on_this_machine_alone(tmp_path: Path) -> None:
    port = free_port()
    commands = subprocess.run(
        ["make", "-n", "--no-print-directory", "ui", f"PORT={port}"],
        cwd=ROOT,
        env=small_project.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = commands[commands.index(".venv/bin/python -m forecast ui") :].replace(
        ".venv/bin/python", warm_interpreter.warm_python()
    )
    env = small_project.environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}")
    page = subprocess.Popen(
        f"exec {command.strip()} --root {ROOT}",
        shell=True,
        cwd=tmp_path,
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(
            lambda: answers(f"http://127.0.0.1:{port}/health") or page.poll() is not None, 120
        )
        assert page.poll() is None
        assert not answers(f"http://127.0.0.2:{port}/health")  # as a server on every address would
    finally:
        os.killpg(page.pid, signal.SIGKILL)
        page.wait()


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False
