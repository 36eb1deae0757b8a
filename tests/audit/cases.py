"""A small project to audit, copied for every case; a leak or a clean variant is a change to the
copy.
"""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.support import warm_interpreter
from tests.support.small_project import RANKINGS, ROOT, copy_code, write_yaml

DAYS = 320
DATASET: dict[str, Any] = {
    "title": "A wave",
    "source": {"kind": "file", "path": "data/wave.csv"},
    "calendar": {"kind": "regular", "freq": "1D"},
    "horizon": 2,
    "lookback": 7,
    "season_length": 7,
    "target": {"column": "y"},
    "past_exogenous": [{"column": "x", "max_missing": 0.1}],
    "calendar_features": ["day_of_week"],
    "splits": {
        "train_end": "2024-05-31",
        "validation_end": "2024-07-31",
        "calibration_end": "2024-09-15",
        "test_end": "2024-12-31",
    },
    "licence": {"name": "none", "attribution": "made for a test"},
}
REFERENCES = ("naive", "seasonal_naive", "ridge", "arx")
STACKED = {"family": "combination", "members": "all", "weights": "stacked"}
FEWEST = ("naive", "ridge")
"""What every score and every network on the fitted skip needs: enough to catch a leak, not to show
its absence.
"""


def wave(seed: int = 0) -> pd.DataFrame:
    """y has a week's season and an AR(1); x leads it a little, misses some cells, and the frame
    misses some days.
    """
    rng = np.random.default_rng(seed)
    noise, shock = np.zeros(DAYS), rng.normal(0, 1, DAYS)
    for t in range(1, DAYS):
        noise[t] = 0.6 * noise[t - 1] + shock[t]
    y = 20 + 3 * np.sin(2 * np.pi * np.arange(DAYS) / 7) + noise
    x = 5 + np.r_[0.0, shock[:-1]] * 0.5 + rng.normal(0, 1, DAYS)
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=DAYS), "y": y, "x": x})
    frame.loc[[90, 91, 200, 201, 202, 280], "x"] = np.nan
    return frame


def write(
    root: Path,
    *,
    frame: pd.DataFrame | None = None,
    models: tuple[str, ...] = (),
    references: tuple[str, ...] = REFERENCES,
    rankings: tuple[str, ...] = RANKINGS,
    combinations: Mapping[str, dict[str, Any]] | None = None,
    **dataset: Any,
) -> Path:
    """The project in `root`: the code as it is, one dataset with the given settings, `references`
    and `models`.
    """
    (root / "configs").mkdir(parents=True)
    (root / "data").mkdir()
    copy_code(root)
    write_yaml(
        root / "configs" / "datasets.yaml",
        {"run": ["wave"], "datasets": {"wave": {**DATASET, **dataset}}},
    )
    grid = [*references, *models]
    entries = {**{name: {"family": name} for name in grid}, **(combinations or {})}
    content = {
        "grid": "tiny",
        "grids": {"tiny": list(entries)},
        "rankings": list(rankings),
        "models": entries,
    }
    write_yaml(root / "configs" / "models.yaml", content)
    shutil.copy(ROOT / "configs" / "evaluation.yaml", root / "configs" / "evaluation.yaml")
    write_yaml(
        root / "configs" / "tuning.yaml",
        {"n_trials": 1, "trial_steps": 1, "final_steps": 1, "seeds": [0], "base_seed": 0},
    )
    take(root, wave() if frame is None else frame)
    return root


def take(root: Path, frame: pd.DataFrame, *, as_of: str | None = None) -> None:
    """A snapshot of `frame`, to which the pointer moves; earlier ones stay."""
    from forecast.config.datasets import load_dataset
    from forecast.data import snapshots
    from forecast.data.preparation import take_snapshot

    frame.to_csv(root / "data" / "wave.csv", index=False)
    moment = pd.Timestamp(as_of) if as_of else None
    pointer = take_snapshot("wave", load_dataset("wave", root / "configs"), root=root, as_of=moment)
    snapshots.move_pointer(root, "wave", pointer)


def join(root: Path, observed: pd.DataFrame | None = None) -> None:
    """A second dataset in the project; the first, whose own rows are `observed`, takes its column x
    from there, as of the day.
    """
    from forecast.config.datasets import load_dataset
    from forecast.data import snapshots
    from forecast.data.preparation import take_snapshot

    frame = wave()[["ds", "x"]].dropna()
    frame.to_csv(root / "data" / "other.csv", index=False)
    other = {
        **DATASET,
        "source": {"kind": "file", "path": "data/other.csv"},
        "target": {"column": "x"},
        "past_exogenous": [],
    }
    path = root / "configs" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    other["target"]["max_missing"] = 0.1
    content["datasets"]["other"] = other
    joined = {"dataset": "other", "series": "other", "column": "x", "max_age_days": 3}
    content["datasets"]["wave"]["past_exogenous"] = [
        {"column": "x", "max_missing": 0.1, "joined": joined}
    ]
    write_yaml(path, content)
    pointer = take_snapshot("other", load_dataset("other", root / "configs"), root=root)
    snapshots.move_pointer(root, "other", pointer)
    replace = root / "data" / "snapshots" / "wave"
    shutil.rmtree(replace)
    take(root, wave()[["ds", "y"]] if observed is None else observed)


def replace_data(root: Path, frame: pd.DataFrame) -> None:
    """The project as if it had always had this frame."""
    shutil.rmtree(root / "data")
    (root / "data").mkdir()
    take(root, frame)


def append(root: Path, module: str, code: str) -> None:
    """Code at the end of a module of the copy: what it defines replaces what stood there."""
    path = root / module
    path.write_text(path.read_text() + "\n\n" + textwrap.dedent(code))


def change_series(root: Path, change: str) -> None:
    """Of every series of a panel the fields that `change` gives, an expression of `series`."""
    append(
        root,
        "forecast/data/panel.py",
        f"""
        from dataclasses import replace

        _exact = from_frame

        def from_frame(frame, name, task):
            panel = _exact(frame, name, task)
            changed = [replace(series, **{change}) for series in panel.series]
            return replace(panel, series=tuple(changed))
        """,
    )


def rewrite(root: Path, path: str, old: str, new: str) -> None:
    """A file of the copy with `new` for its one `old`: a plant that finds nothing to change fails
    here.
    """
    file = root / path
    text = file.read_text()
    assert text.count(old) == 1, (
        f"{old!r} stands {text.count(old)} times in {path}; the case plants nothing."
    )
    file.write_text(text.replace(old, new))


def look_at_few_moments(root: Path) -> None:
    """The audit of the copy prepares the data at few moments, which find every planted leak: more
    moments add findings and take none away.
    """
    for name in ("RANDOM", "GAP", "STALE"):
        rewrite(
            root,
            "forecast/audit/origins.py",
            f"\nMOST_{name}_MOMENTS = 6",
            f"\nMOST_{name}_MOMENTS = 1",
        )


def train_one_seed(root: Path) -> None:
    """The audit of the copy makes one trial and trains one seed instead of two of each: a network
    is traced anew in each of its processes.
    """
    rewrite(root, "forecast/audit/sandbox.py", '"n_trials": 2', '"n_trials": 1')
    rewrite(root, "forecast/audit/sandbox.py", '"seeds": [0, 1]', '"seeds": [0]')


def derived(root: Path, change: str) -> None:
    """The copy does `change` to `frame`, the columns that it derived and selected."""
    code = textwrap.indent(textwrap.dedent(change).strip("\n"), "    ")
    append(
        root,
        "forecast/data/columns.py",
        "_select = derive_and_select\n\n\n"
        "def derive_and_select(raw, dataset, *, where):\n"
        "    frame = _select(raw, dataset, where=where)\n"
        f"{code}\n"
        "    return frame\n",
    )


def calibrate(root: Path, block: str) -> None:
    """The compare stage of the copy calibrates intervals of the ridge on the forecasts of
    `block`.
    """
    append(
        root,
        "pipelines/compare.py",
        f"""
        _compare = main

        def main(dataset: str, root: str = ".") -> None:
            from forecast.data.results import Results
            from forecast.forecaster.intervals import SplitConformal

            _compare(dataset, root)
            rows = Results(ProjectPaths.of(root), dataset).forecasts("ridge")
            own = rows[rows["block"] == "{block}"].pivot(index="cutoff", columns="step")
            SplitConformal.calibrate(own["y"].to_numpy(), own["y_hat"].to_numpy())
        """,
    )


def change_dataset(root: Path, **settings: Any) -> None:
    path = root / "configs" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    content["datasets"]["wave"].update(settings)
    write_yaml(path, content)


def audited(root: Path) -> dict[str, Any]:
    """The audit's own answer, from a process that runs the copy's code."""
    command = [warm_interpreter.warm_python(), "-m", "forecast.audit", "wave", "--json"]
    done = warm_interpreter.run(command, cwd=root, env=os.environ)
    assert done.returncode in (0, 5) and "{" in done.stdout, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    assert (done.returncode == 0) == report["clean"]
    return report


Change = Callable[[Path], None]


KINDS_OF_THE_DATA = ("column", "history", "repeated", "target")
"""What one look at the table tells, without a run: test_data_checks.py has such tables."""
