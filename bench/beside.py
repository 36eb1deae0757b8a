"""A day ahead beside neuralforecast, darts and boosted trees: the same origins, blocks and columns,
a process each.

    python -m bench.beside [--data FOLDER] [--only dublin] [--again] [--limit 3600]
                                                                               (or: make beside)
    python -m bench.beside --only ours --again --errors-alone

The second measures rows on another machine than that of the others, without their seconds.
Everyone is given the rows before the test block and forecasts every origin of it with the weights
it then has. Rows go to bench/results/beside.json as they are measured.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import page
from bench.beside_tests import HORIZON, STEP
from bench.published import FILES, folder_of
from bench.results_file import RESULTS, ROOT, ResultsFile, Row, command, options_of
from bench.rival import CONTENDERS, QUANTILES, origins, wide
from bench.turns import ONE_THREAD, PEERS
from forecast.system.files import read_json, write_frame

DATA = ROOT.parent / "shared" / "data"
STATIONS = ("Dongsi", "Huairou", "Shunyi", "Wanshouxigong")
"""Of Beijing, four that share no temperature."""
SCRATCH = ROOT / ".forecast" / "bench"
COSTS = Path(".forecast", "cost")
OURS = ["ridge", "lstm", "gru", "mean_networks"]
EPOCHS = 5
"""Of darts' BlockRNN, which takes a hundred by default: those would be 50,000 steps."""
SETTINGS: Mapping[str, Any] = {
    "horizon": HORIZON,
    "step": STEP,
    "lookback": 168,
    "models": OURS,
    "tuning": "full",
    "trials": 8,
    "epochs": EPOCHS,
    "search limit": 600,
    "training limit": 200,
}
"""The two limits are AutoLSTM's, in CPU seconds: without them eight trials on Dublin were not done
after 2,300 s.
"""


def dublin(_: Path) -> pd.DataFrame:
    import forecast

    return forecast.example()[["unique_id", "ds", "y", "wind"]]


def beijing(data: Path) -> pd.DataFrame:
    """Two years of four stations."""
    records = pd.read_parquet(data / FILES["beijing"].name)
    records = records[records["station"].isin(STATIONS)]
    times = pd.to_datetime(records[["year", "month", "day", "hour"]])
    columns = {
        "unique_id": records["station"].astype(str),
        "ds": times,
        "y": records["TEMP"],
        "wind": records["WSPM"],
    }
    frame = fill_hours(pd.DataFrame(columns))
    return frame[frame["ds"] >= "2015-03-01"].reset_index(drop=True)


def airports(data: Path) -> pd.DataFrame:
    """One year of three airports, °C and km/h; winds above 200 mph are faults of the record."""
    airports_table = pd.read_csv(data / FILES["airports"].name)
    times = pd.to_datetime(airports_table["time_hour"], utc=True).dt.tz_localize(None)
    wind = (airports_table["wind_speed"] * 1.609344).where(airports_table["wind_speed"] < 200)
    columns = {
        "unique_id": airports_table["origin"],
        "ds": times,
        "y": (airports_table["temp"] - 32) / 1.8,
        "wind": wind,
    }
    return fill_hours(pd.DataFrame(columns).drop_duplicates(["unique_id", "ds"]))


def fill_hours(frame: pd.DataFrame) -> pd.DataFrame:
    """Every hour that all series cover; a missing one repeats the one before, for every contender
    alike.
    """
    ends = frame.groupby("unique_id")["ds"].agg(["min", "max"])
    hours = pd.date_range(ends["min"].max(), ends["max"].min(), freq="h", name="ds")
    whole = pd.MultiIndex.from_product(
        [sorted(frame["unique_id"].unique()), hours], names=["unique_id", "ds"]
    )
    return (
        frame.set_index(["unique_id", "ds"])
        .reindex(whole)
        .groupby("unique_id")
        .ffill()
        .reset_index()
    )


FRAMES = {"dublin": dublin, "beijing": beijing, "airports": airports}
GRIDS = {f"dublin/the whole grid of {dataset}": dataset for dataset in ("weather", "stocks")}
"""The default comparison of `make run`, for its seconds alone: they stand beside AutoLSTM's."""


def blocks(rows: int) -> dict[str, int]:
    """15 % test, of which every origin ends inside it, as many to choose on, a tenth to
    calibrate.
    """
    test = round(0.15 * rows)
    test -= (test - HORIZON) % STEP
    calibration, validation = round(0.1 * rows), round(0.15 * rows)
    return {
        "train": rows - test - calibration - validation,
        "validation": validation,
        "calibration": calibration,
        "test": test,
    }


def run(task: Mapping[str, Any], limit: float, module: str = "bench.rival") -> Row:
    """What the contender's process answers, or why there is no row."""
    python = Path(sys.executable) if task["who"] == "ours" else PEERS
    if not os.access(python, os.X_OK):
        return {"not run": "not installed: make bench-setup"}
    command = [str(python), "-m", module, json.dumps(task)]
    began = {
        "cwd": ROOT,
        "env": os.environ | ONE_THREAD | {"CUDA_VISIBLE_DEVICES": ""},
        "text": True,
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **began
    ) as process:  # type: ignore[call-overload]
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return {"not run": f"stopped after {limit:.0f} s"}
        finally:
            process.kill()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        messages = [line for line in err.strip().splitlines() if line.strip()]
        return {"not run": f"failed: {messages[-1] if messages else 'no message'}"[:200]}
    return dict(json.loads(lines[-1]))


def score(frame: pd.DataFrame, task: Mapping[str, Any], parts: Mapping[str, np.ndarray]) -> Row:
    """MAE, CRPS (twice the mean quantile loss) and the mean loss of each origin over series and
    steps.
    """
    values = wide(frame)
    rows = origins(dict(task), values.shape[1])
    truth = values[:, rows[:, None] + np.arange(1, task["horizon"] + 1)]
    error = np.abs(parts["point"] - truth)
    row: Row = {
        "MAE": float(error.mean()),
        "losses": np.round(error.mean(axis=(0, 2)), 6).tolist(),
    }
    if "quantiles" in parts:
        share = np.array(QUANTILES)[:, None, None, None]
        gap = truth - parts["quantiles"]
        row["CRPS"] = float(2 * np.maximum(share * gap, (share - 1) * gap).mean())
    return row


def closed(name: str, data: Path) -> str:
    """Why a dataset cannot be read; empty where it can."""
    if name in FILES and not (folder_of(name, data) / FILES[name].name).exists():
        return f"{FILES[name].name} is not in the data folder; published at {FILES[name].source}"
    return ""


def measured(
    name: str, who: str, data: Path, limit: float, settings: Mapping[str, Any] = SETTINGS
) -> dict[str, Row]:
    """One row per model by its name; ours has the chosen one and the LSTM."""
    if reason := closed(name, data):
        return {who: {"not run": reason}}
    frame = FRAMES[name](folder_of(name, data) if name in FILES else data)
    folder = SCRATCH / name
    folder.mkdir(parents=True, exist_ok=True)
    frame_file, out = folder / "frame.parquet", folder / f"{who.replace(' ', '-')}.npz"
    write_frame(
        frame_file, frame
    )  # whole at once: another command on the same data may be reading it
    task = {
        **settings,
        **blocks(frame["ds"].nunique()),
        "who": who,
        "data": str(frame_file),
        "out": str(out),
    }
    answer = run(task, limit)
    if "not run" in answer:
        return {who: answer}
    with np.load(out) as arrays:
        parts = dict(arrays)
    if who != "ours":
        note = {"note": f"{EPOCHS} epochs"} if who.startswith("darts") else {}
        return {who: answer | note | score(frame, task, parts)}
    chosen = answer["chosen"]
    rows = {}
    for model in dict.fromkeys((chosen, "lstm")):
        model_parts = {part: parts[f"{model}/{part}"] for part in ("point", "quantiles")}
        title = f"ours, chosen on validation ({model})" if model == chosen else "ours, lstm"
        rows[title] = answer | score(frame, task, model_parts)
    return rows


def grid(project: Path, dataset: str) -> Row:
    """CPU seconds of a finished comparison: of all candidates, and of the tuned networks with their
    tuning.
    """
    tuned = {path.stem for path in (project / "data" / "tuned" / dataset).glob("*.json")}
    networks = {name for name in tuned if "." in name}  # NAME.SKIP; what has no skip is no network
    costs = {
        path.stem: read_json(path)["cpu_seconds"]
        for path in (project / COSTS / dataset).glob("*.json")
    }
    network_seconds = [s for name, s in costs.items() if ".".join(name.split(".")[:2]) in networks]
    if not network_seconds:
        return {"not run": "needs a finished run with networks: make beside RUN=FOLDER ONLY=grid"}
    return {
        "CPU s": sum(costs.values()),
        "networks": len(networks),
        "networks' CPU s": sum(network_seconds),
    }


def without_seconds(row: Row) -> Row:
    """Of another machine: its errors can stand beside those of the file, its seconds cannot."""
    rest = {name: value for name, value in row.items() if name != "CPU s"}
    return rest if "not run" in row else rest | {"measured": datetime.date.today().isoformat()}


@command
def main() -> None:
    parser = options_of(__doc__, DATA)
    parser.add_argument(
        "--limit", type=float, default=3_600, help="seconds after which a contender is stopped"
    )
    parser.add_argument(
        "--run", type=Path, default=ROOT, help="the project whose `make run` is finished"
    )
    parser.add_argument(
        "--errors-alone",
        action="store_true",
        help="add rows without seconds to a file that was measured on another machine",
    )
    options = parser.parse_args()
    path = RESULTS / "beside.json"
    store = (
        ResultsFile(path, read_json(path)["machine"]) if options.errors_alone else ResultsFile(path)
    )
    for key in store.missing(
        [*(f"{name}/{who}" for name in FRAMES for who in CONTENDERS), *GRIDS], options
    ):
        if key in GRIDS:
            measured_rows = {f"ours, {key.partition('/')[2]}": grid(options.run, GRIDS[key])}
        else:
            measured_rows = measured(*key.split("/"), options.data, options.limit)
            if options.errors_alone:
                measured_rows = {
                    model: without_seconds(row) for model, row in measured_rows.items()
                }
        failed = [row["not run"] for row in measured_rows.values() if "not run" in row]
        store.write(key, {"rows": measured_rows, **({"not run": failed[0]} if failed else {})})
        mae_texts = [
            f"{model}: MAE {row['MAE']:.3f}" for model, row in measured_rows.items() if "MAE" in row
        ]
        print(key, *failed or mae_texts, sep="; ", flush=True)
    page.write(show="beside")


if __name__ == "__main__":
    sys.exit(main())
