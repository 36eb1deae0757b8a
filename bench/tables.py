"""Published tables with our rows beside them: cascaded tanks, ETTh1, Exchange, M4 hourly.

    python -m bench.tables [--data FOLDER] [--only tanks] [--repetitions 10]      (or: make tables DATA=FOLDER)

Every window of a test block is scored. Rows go to bench/results/tables.json as they are measured, and a second run
goes on where the first stopped. The data are not part of this project: `FILES` names each file and where it is
published; a table without its file says so, and so does a row that nobody had the time for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench import cascaded_tanks, page
from bench.published import FILES
from bench.results_file import RESULTS, ROOT, ResultsFile, Row
from forecast.system.errors import ForecastError

DATA = ROOT.parent / "shared" / "data" / "benchmarks"
ETT_ROWS = (8_640, 2_880, 2_880)  # train, validation, test
LOOKBACK = 336  # of NLinear, as in its publication
Measure = Callable[[Path], Row]


@dataclass(frozen=True)
class Own:
    """One row of ours: its table, what it is with its parameters, and how it is measured."""

    table: str
    name: str
    measure: Measure
    column: str


def rows(repetitions: int) -> dict[str, Own]:
    """Every row by key; the quick ones first."""
    found = [Own("etth1", "repeat the last value", _repeated_etth1(h), str(h)) for h in (96, 192, 336, 720)]
    found += [Own("etth1_ot", "repeat the last value", _repeated_ot(h), str(h)) for h in (96, 192, 336, 720)]
    found += [Own("exchange", "repeat the last value", _repeated_exchange(h), str(h)) for h in (96, 192, 336)]
    found += [Own("m4", "seasonal naive, season 24", m4_seasonal_naive, "MASE")]
    found += [Own("tanks", f"identify, whole procedure, seed {s}", _tanks(s), "V") for s in range(repetitions)]
    nlinear = f"nlinear, lookback {LOOKBACK}, fitted before the test block"
    found += [Own("etth1_ot", nlinear, _fitted_ot("nlinear", h), str(h)) for h in (96, 192, 336, 720)]
    return {f"{own.table}/{own.name}/{own.column}": own for own in found}


def windows_mse(values: np.ndarray, first: int, horizon: int) -> float:
    """MSE of repeating the last value on every window of the block from row `first`; values `(rows, channels)`."""
    ahead = np.lib.stride_tricks.sliding_window_view(values[first:], horizon, axis=0)
    last = values[first - 1 : first - 1 + len(ahead)]
    return float(np.mean((ahead - last[:, :, None]) ** 2))


def standardised(values: np.ndarray, train: int) -> np.ndarray:
    """By mean and deviation of the train rows, as the publications do."""
    return (values - values[:train].mean(0)) / values[:train].std(0)


def etth1(data: Path, columns: list[str] | None = None) -> np.ndarray:
    frame = pd.read_csv(data / FILES["etth1"].name).iloc[: sum(ETT_ROWS), 1:]
    return standardised(frame[columns or list(frame)].to_numpy(np.float64), ETT_ROWS[0])


def _repeated_etth1(horizon: int) -> Measure:
    return lambda data: {"value": windows_mse(etth1(data), sum(ETT_ROWS[:2]), horizon)}


def _repeated_ot(horizon: int) -> Measure:
    return lambda data: {"value": windows_mse(etth1(data, ["OT"]), sum(ETT_ROWS[:2]), horizon)}


def _repeated_exchange(horizon: int) -> Measure:
    def measure(data: Path) -> Row:
        values = pd.read_csv(data / FILES["exchange"].name, header=None).to_numpy(np.float64)
        train, test = int(len(values) * 0.7), int(len(values) * 0.2)
        return {"value": windows_mse(standardised(values, train), len(values) - test, horizon)}

    return measure


def _fitted_ot(model: str, horizon: int) -> Measure:
    """The package's own way: fitted once on the rows before the test block, every window of it forecast."""

    def measure(data: Path) -> Row:
        import forecast

        values, test = etth1(data, ["OT"])[:, 0], ETT_ROWS[2]
        frame = pd.DataFrame({"ds": pd.date_range("2016-07-01", periods=len(values), freq="h"), "y": values})
        fitted = forecast.fit(frame, model, freq="1h", horizon=horizon, lookback=LOOKBACK, n_jobs=1)
        found = fitted.cross_validation(n_windows=test - horizon + 1)
        return {"value": float(np.mean((found[model] - found["y"]) ** 2)), "windows": test - horizon + 1}

    return measure


def m4_seasonal_naive(data: Path) -> Row:
    """Mean MASE over the 414 series, horizon 48, season 24."""
    train = pd.read_csv(data / FILES["m4"].name).set_index("V1")
    test = pd.read_csv(data / FILES["m4"].name.replace("train", "test")).set_index("V1")
    return {"value": float(np.mean([mase(train.loc[k], test.loc[k]) for k in train.index])), "series": len(train)}


def mase(train: pd.Series, test: pd.Series, season: int = 24) -> float:
    past, truth = (series.dropna().to_numpy(np.float64) for series in (train, test))
    repeated = np.tile(past[-season:], -(-len(truth) // season))[: len(truth)]
    return float(np.mean(np.abs(truth - repeated)) / np.mean(np.abs(past[season:] - past[:-season])))


def _tanks(seed: int) -> Measure:
    """Free run on the test record: RMSE in V without the first 50 rows (the official window), and without 5."""

    def measure(data: Path) -> Row:
        from forecast.identification import Experiment, identify

        train, test = cascaded_tanks.read(data / FILES["tanks"].name)
        model = identify(Experiment(*train), seed=seed)
        run = model.parallel(test[0], test[1][: cascaded_tanks.START]).y
        without = {f"without {n}": float(np.sqrt(np.mean((run - test[1])[n:] ** 2))) for n in (50, 5)}
        return {"value": without["without 50"], **without}

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", default="", help="rows whose key contains this")
    parser.add_argument("--repetitions", type=int, default=10, help="whole procedures on the tanks")
    parser.add_argument("--again", action="store_true", help="measure rows anew that the file has")
    options = parser.parse_args()
    store = ResultsFile(RESULTS / "tables.json")
    for key, own in rows(options.repetitions).items():
        if options.only in key and (options.again or not store.done(key)):
            store.write(key, {"table": own.table, "name": own.name, "column": own.column} | tried(own, options.data))
            print(key, store.rows[key].get("not run") or f"{store.rows[key]['value']:.3f}", flush=True)
    page.write()


def tried(own: Own, data: Path) -> Row:
    """The measured row, or why there is none."""
    file = FILES[own.table]
    if not (data / file.name).exists():
        return {"not run": f"{file.name} is not in the data folder; published at {file.source}"}
    began = time.process_time()
    try:
        return own.measure(data) | {"CPU s": time.process_time() - began}
    except (ForecastError, ArithmeticError, OSError, RuntimeError, ValueError) as error:
        return {"not run": f"failed: {type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    main()
