"""Published tables with our rows beside them: cascaded tanks, ETTh1, Exchange, M4 hourly.

    python -m bench.tables [--data FOLDER] [--only tanks] [--repetitions 10] [--seeds 5]
                                                                        (or: make tables)

Every window of a test block is scored; what is chosen is chosen on validation (bench/recipes.py).
Rows go to bench/results/tables.json as they are measured, and a second run goes on where the first
stopped; more --seeds measure the networks anew that had fewer. The data are not part of this
project: `FILES` names each file and where it is published; a table without its file says so, and so
does a row that nobody had the time for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench import beijing, cascaded_tanks, page
from bench.published import FILES, TABLES, folder_of
from bench.recipes import ETT_ROWS, KINDS, RECIPES, etth1, exchange, m4, mase, measure
from bench.results_file import RESULTS, ROOT, ResultsFile, Row, command, options_of
from forecast.system.errors import ForecastError
from forecast.system.workers import limit_to_one_thread

DATA = ROOT.parent / "shared" / "data" / "benchmarks"
LOOKBACK = 336  # of NLinear, as in its publication
Measure = Callable[[Path, Row], Row]
"""From the folder of the data and what an earlier run left of the row."""


@dataclass(frozen=True)
class TableRow:
    """One row of ours: its table, what it is with its parameters, and how it is measured."""

    table: str
    name: str
    measure: Measure
    column: str
    seeds: int = 0
    """Wanted of a network's row: one that has fewer is measured anew."""


def rows(repetitions: int, seeds: int = 1) -> dict[str, TableRow]:
    """Every row by key; the quick ones first."""
    measures = [
        TableRow("etth1", "repeat the last value", _repeated_etth1(h), str(h))
        for h in (96, 192, 336, 720)
    ]
    measures += [
        TableRow("etth1_ot", "repeat the last value", _repeated_ot(h), str(h))
        for h in (96, 192, 336, 720)
    ]
    measures += [
        TableRow("exchange", "repeat the last value", _repeated_exchange(h), str(h))
        for h in (96, 192, 336)
    ]
    measures += [TableRow("m4", "seasonal naive, season 24", m4_seasonal_naive, "MASE")]
    measures += [
        TableRow("tanks", f"identify, whole procedure, seed {s}", _tanks(s), "V")
        for s in range(repetitions)
    ]
    nlinear = f"nlinear, lookback {LOOKBACK}, fitted before the test block"
    measures += [
        TableRow("etth1_ot", nlinear, _fitted_ot("nlinear", h), str(h)) for h in (96, 192, 336, 720)
    ]
    measures += [
        TableRow("beijing", name, beijing.measure(name), "MAE")
        for name in (beijing.NETWORK, *beijing.MODELS)
    ]
    for table, kind in ((table, kind) for table, kinds in RECIPES.items() for kind in kinds):
        n_seeds = 0 if kind == KINDS[0] else seeds
        of_kind = [
            TableRow(table, kind, measure(table, kind, c, seeds), c, n_seeds)
            for c in TABLES[table].columns
        ]
        measures += of_kind
    return {f"{row.table}/{row.name}/{row.column}": row for row in measures}


def windows_mse(values: np.ndarray, first: int, horizon: int) -> float:
    """MSE of repeating the last value on every window of the block from row `first`; values `(rows,
    channels)`.
    """
    ahead = np.lib.stride_tricks.sliding_window_view(values[first:], horizon, axis=0)
    last = values[first - 1 : first - 1 + len(ahead)]
    return float(np.mean((ahead - last[:, :, None]) ** 2))


def _repeated_etth1(horizon: int) -> Measure:
    return lambda data, _: {"value": windows_mse(etth1(data), sum(ETT_ROWS[:2]), horizon)}


def _repeated_ot(horizon: int) -> Measure:
    return lambda data, _: {"value": windows_mse(etth1(data, ["OT"]), sum(ETT_ROWS[:2]), horizon)}


def _repeated_exchange(horizon: int) -> Measure:
    def repeated(data: Path, _: Row) -> Row:
        values, test = exchange(data)
        return {"value": windows_mse(values, len(values) - test, horizon)}

    return repeated


def _fitted_ot(model: str, horizon: int) -> Measure:
    """The package's own way: fitted once on the rows before the test block, every window of it
    forecast.
    """

    def fitted_once(data: Path, _: Row) -> Row:
        import forecast

        values, test = etth1(data, ["OT"])[:, 0], ETT_ROWS[2]
        frame = pd.DataFrame(
            {"ds": pd.date_range("2016-07-01", periods=len(values), freq="h"), "y": values}
        )
        fitted = forecast.fit(frame, model, freq="1h", horizon=horizon, lookback=LOOKBACK, n_jobs=1)
        forecasts = fitted.cross_validation(n_windows=test - horizon + 1)
        return {
            "value": float(np.mean((forecasts[model] - forecasts["y"]) ** 2)),
            "windows": test - horizon + 1,
        }

    return fitted_once


def m4_seasonal_naive(data: Path, _: Row) -> Row:
    """Mean MASE over the 414 series, horizon 48, season 24."""
    train, test = m4(data)
    errors = [
        mase(past, seasonal_naive(past, len(test[uid])), test[uid]) for uid, past in train.items()
    ]
    return {"value": float(np.mean(errors)), "series": len(train)}


def seasonal_naive(past: np.ndarray, horizon: int, season: int = 24) -> np.ndarray:
    return np.tile(past[-season:], -(-horizon // season))[:horizon]


def _tanks(seed: int) -> Measure:
    """Free run on the test record: RMSE in V without the first 50 rows (the official window), and
    without 5.
    """

    def identified(data: Path, _: Row) -> Row:
        from forecast.identification import Experiment, SearchSettings, identify

        train, test = cascaded_tanks.read(data / FILES["tanks"].name)
        settings = SearchSettings(most_start=cascaded_tanks.START)
        model = identify(Experiment(*train), seed=seed, settings=settings)
        run = model.simulate(test[0], test[1][: cascaded_tanks.START]).y
        without = {
            f"without {n}": float(np.sqrt(np.mean((run - test[1])[n:] ** 2))) for n in (50, 5)
        }
        return {"value": without["without 50"], **without}

    return identified


@command
def main() -> None:
    parser = options_of(__doc__, DATA)
    parser.add_argument("--repetitions", type=int, default=10, help="whole procedures on the tanks")
    parser.add_argument("--seeds", type=int, default=5, help="of the networks of the long tables")
    options = parser.parse_args()
    store = ResultsFile(RESULTS / "tables.json")
    every = rows(options.repetitions, options.seeds)
    few = [
        key
        for key, row in every.items()
        if store.rows.get(key, {}).get("seeds", row.seeds) < row.seeds
    ]
    for key in store.missing(every, options, few):
        row, before = every[key], store.rows.get(key, {})
        result = tried(row, options.data, {} if options.again else before)
        store.write(key, {"table": row.table, "name": row.name, "column": row.column} | result)
        print(key, result.get("not run") or f"{result['value']:.3f}", flush=True)
    page.write(show="tables")


def tried(measured_row: TableRow, data: Path, before: Row) -> Row:
    """The measured row, or why there is none."""
    file = FILES[measured_row.table]
    if not (folder_of(measured_row.table, data) / file.name).exists():
        return {"not run": f"{file.name} is not in the data folder; published at {file.source}"}
    began = time.process_time()
    try:
        # on a busy machine the threads of a BLAS wait for each other with their CPU running
        with limit_to_one_thread():
            return measured_row.measure(folder_of(measured_row.table, data), before) | {
                "CPU s": time.process_time() - began
            }
    except (ForecastError, ArithmeticError, OSError, RuntimeError, ValueError) as error:
        return {"not run": f"failed: {type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    sys.exit(main())
