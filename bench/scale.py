"""A whole run of thousands of simulated series, or of one very long one: how long it takes and how
much memory all its processes need.

    taskset -c 0,1 python -m bench.scale hours FOLDER     2,000 series of 600 hours, five models
    taskset -c 0,1 python -m bench.scale days FOLDER      10,000 series of 1,000 days, three models
    taskset -c 0,1 python -m bench.scale minutes FOLDER   a year of minutes in one series, 525,600
    taskset -c 0,1 python -m bench.scale shops FOLDER     50 series of three years, ten models
    taskset -c 0,1 python -m bench.scale m4 FOLDER --data ../shared/data/benchmarks

The folder becomes a project of its own, with the data as CSV; what is there already is used again.
The memory is the sum over all processes of a command, a shared page counted once (PSS), looked at
twice a second. `m4` are the 414 hourly series of the M4 competition (Makridakis, Spiliotis &
Assimakopoulos 2020), of unequal length, without dates.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml

from forecast.api import installation

NAME = "many"
EVERY = 0.5


@dataclass(frozen=True)
class Kind:
    """A set, what its entry says besides the target, and the run it is measured with; `rows` 0:
    read from `--data`.
    """

    series: int
    rows: int
    season: int
    freq: str
    models: str
    budget: dict[str, Any]
    entry: dict[str, Any] = field(default_factory=dict)


ONE = {"n_trials": 1, "trial_steps": 50, "final_steps": 100, "seeds": [0]}
KINDS = {
    "hours": Kind(
        2_000,
        600,
        24,
        "1h",
        "gru,elman,ridge,auto_ets,naive",
        {"n_trials": 2},
        {"horizon": 24, "lookback": 120, "step_size": 6, "calibration_step_size": 2},
    ),
    "days": Kind(
        10_000,
        1_000,
        7,
        "1D",
        "naive,ridge,gru",
        ONE,
        {"horizon": 7, "lookback": 28, "step_size": 7},
    ),
    "minutes": Kind(
        1,
        525_600,
        1_440,
        "1min",
        "naive,ridge,gru",
        {"seeds": [0]},
        {"horizon": 60, "lookback": 1_440, "step_size": 60},
    ),
    "shops": Kind(
        50,
        1_095,
        7,
        "1D",
        "naive,seasonal_naive,ridge,arx,nlinear,boosting,auto_ets,theta,ffnn,gru",
        ONE,
        {"horizon": 14, "lookback": 56, "step_size": 7},
    ),
    "m4": Kind(
        0, 0, 24, "", "naive,ridge,gru", ONE, {"horizon": 48, "lookback": 96, "step_size": 24}
    ),
}


def simulated(kind: Kind, broken: int) -> pd.DataFrame:
    """Cycles of any height and phase with a first-order autoregression; of the `broken` last ones
    most is missing.
    """
    draw, steps = np.random.default_rng(1), np.arange(kind.rows)
    noise = draw.standard_normal((kind.series, kind.rows))
    for row in steps[1:]:
        noise[:, row] += 0.8 * noise[:, row - 1]
    level, height, phase = (
        draw.uniform(low, high, (kind.series, 1)) for low, high in ((10, 30), (1.5, 6), (0, 1))
    )
    values = level + height * np.sin(2 * np.pi * (steps / kind.season + phase)) + noise
    values[len(values) - broken :, 10:-10] = np.nan
    times = pd.date_range("2021-01-01", periods=kind.rows, freq=kind.freq)
    names = [f"s{number:05d}" for number in range(kind.series)]
    columns = {"unique_id": np.repeat(names, kind.rows), "ds": np.tile(times, kind.series)}
    return pd.DataFrame({**columns, "y": values.ravel().round(3)})


def m4(folder: Path) -> pd.DataFrame:
    """Train and test part of every series one after the other, row after row, without a time."""
    parts = [
        pd.read_csv(folder / f"m4_Hourly-{part}.csv", index_col=0) for part in ("train", "test")
    ]
    rows = [pd.concat([part.loc[name].dropna() for part in parts]) for name in parts[0].index]
    names = np.repeat(parts[0].index, [len(y) for y in rows])
    return pd.DataFrame({"unique_id": names, "y": np.concatenate(rows)})


def project(folder: Path, kind: Kind, frame: pd.DataFrame) -> None:
    installation.create_project(folder)
    frame.to_csv(folder / "data" / f"{NAME}.csv", index=False)
    columns = {} if "ds" in frame else {"columns": {"unique_id": "unique_id"}}
    entry = {
        "title": NAME,
        "source": {"kind": "file", "path": f"data/{NAME}.csv", **columns},
        "calendar": {"kind": "regular", "freq": kind.freq} if kind.freq else {"kind": "index"},
        "season_length": kind.season,
        "target": {"column": "y"},
        "splits": {"train": 0.6, "validation": 0.15, "calibration": 0.1},
        "licence": {"name": "none", "attribution": "simulated, or M4"},
        **kind.entry,
    }
    (folder / "configs" / "schedule.yaml").unlink()  # its jobs are of the default datasets
    grid = {"rankings": ["shipped"], "grid": NAME, "grids": {NAME: kind.models.split(",")}}
    changes = {"datasets": {"run": [NAME]}, "models": grid, "tuning": kind.budget}
    for name, change in changes.items():
        path = folder / "configs" / f"{name}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) | change
        if name == "datasets":
            content["datasets"] = {NAME: entry}
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def measured(folder: Path, *words: str) -> str:
    """Seconds and memory of one command of `forecast`."""
    began, peak, largest = time.monotonic(), 0, 0
    cpu: dict[int, float] = {}
    process = subprocess.Popen([sys.executable, "-m", "forecast", *words], cwd=folder)
    try:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            sizes = []
            for child in [root, *root.children(recursive=True)]:
                with suppress(psutil.Error):
                    sizes.append(child.memory_full_info().pss)
                    cpu[child.pid] = sum(child.cpu_times()[:2])
            peak, largest = max(peak, sum(sizes)), max(largest, *sizes, 0)
            time.sleep(EVERY)
    finally:
        process.kill()
    took = time.monotonic() - began
    outcome = f"exit {process.returncode}, {took:.0f} s, {sum(cpu.values()):.0f} s of CPU"
    return (
        f"{' '.join(words)}: {outcome}, {peak / 1e9:.2f} GB in all, {largest / 1e9:.2f} GB the"
        " largest process"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--data", type=Path, help="the folder with m4_Hourly-train.csv and m4_Hourly-test.csv"
    )
    parser.add_argument("--broken", type=int, default=0, help="series of which most is missing")
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    kind = KINDS[options.kind]
    if not options.folder.exists():
        project(
            options.folder, kind, simulated(kind, options.broken) if kind.rows else m4(options.data)
        )
    print(measured(options.folder, "fetch", NAME), flush=True)
    print(measured(options.folder, "run", "--jobs", options.jobs), flush=True)
    for report in sorted(options.folder.rglob("report.html")):
        print(f"{report.relative_to(options.folder)}: {report.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
