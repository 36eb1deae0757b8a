"""kill -9 while fetching: the next reader sees the old snapshot or the new one, whole."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from forecast.data import snapshots
from tests.support import small_project
from tests.support.example_data import write_project
from tests.support.services import Services, serving

BEFORE, AFTER = "2021-05-20T12:00:00", "2021-06-01T12:00:00"
LONGEST_S = 60.0


def project(root: Path, services: Services) -> Path:
    place = {"latitude": 53.35, "longitude": -6.26}
    source = {
        "kind": "open_meteo",
        "places": {"dublin": place},
        "variables": {"temp": "temperature_2m"},
    }
    return write_project(
        root, city={"source": {**source, "start": "2021-01-01", "base_url": services.url}}
    )


def killed_when(root: Path, reached: Callable[[], bool]) -> None:
    words = small_project.arguments("fetch", "city", "--as-of", AFTER)
    quiet = subprocess.DEVNULL
    fetch = subprocess.Popen(
        words, cwd=root, env=small_project.environment(), stdout=quiet, stderr=quiet
    )
    end = time.monotonic() + LONGEST_S
    while not reached() and fetch.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    fetch.send_signal(signal.SIGKILL)
    fetch.wait()


def test_a_kill_leaves_the_old_snapshot_or_the_new_one(tmp_path: Path):
    with serving(Services(now=pd.Timestamp("2021-06-10"))) as services:
        root = project(tmp_path, services)
        done = small_project.command(root, "fetch", "city", "--as-of", BEFORE)
        assert done.returncode == 0, done.stderr
        store = root / "data" / "snapshots" / "city"
        n_asked, n_stored = len(services.requested), len(list(store.iterdir()))
        for reached in (
            lambda: len(services.requested) > n_asked,
            lambda: len(list(store.iterdir())) > n_stored,
        ):
            killed_when(root, reached)
            last = snapshots.read_pointed(root, "city")["ds"].max()
            assert last in (pd.Timestamp("2021-05-20 11:00"), pd.Timestamp("2021-06-01 11:00"))
        pointers = root / "data" / "pointers"
        for half in (
            pointers / ".tmp-city.json-d5c0fa89",
            store / ".tmp-x.parquet-d5c0fa89",
            pointers / ".tmp-lir.json-0",
        ):
            half.write_text("")
        repeated = small_project.command(root, "fetch", "city", "--as-of", AFTER)
        assert repeated.returncode == 0, repeated.stderr
        left = [path.name for path in root.rglob(".tmp-*")]
        assert left == [".tmp-lir.json-0"], "its own are removed, another dataset's may be in use"
        assert snapshots.read_pointed(root, "city")["ds"].max() == pd.Timestamp("2021-06-01 11:00")
