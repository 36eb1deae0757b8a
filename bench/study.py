"""When does a recurrent network pay? The cells of docs/research/when-recurrent.md, one row each.

    python -m bench.study [--minutes 40] [--data FOLDER] [--only "fading 40"]      (or: make study)

A cell is a system, a lookback, a number of series and months, an architecture, its skip and its
steps. Cells that bench/results/when-recurrent.csv lacks are run in the order of `planned_cells`
until the minutes are over; each is appended when it is done, so a kill costs one cell. Systems
whose file is not in the folder of the panels are left out. Fits, scores and tests are the
product's.
"""

from __future__ import annotations

import argparse
import itertools
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from bench import one_model
from bench.one_model import Data, Recipe, Trial
from bench.results_file import RESULTS, ROOT
from bench.study_systems import SYSTEMS, Observed
from forecast.comparison.paired_tests import diebold_mariano
from forecast.models.problem import Problem

DATA = ROOT.parent / "shared" / "data"
FILE = RESULTS / "when-recurrent.csv"
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15
STEPS, SEEDS, UNITS = 600, 5, 24
CHOICES = tuple(itertools.product((3e-3, 1e-2), (0.0, 0.4)))
"""Learning rate and `l1`: all that is chosen of a network."""
ARCHITECTURES = (
    "ffnn",
    "mlp",
    "tdnn",
    "narx",
    "jordan",
    "elman",
    "rnn",
    "lstm",
    "gru",
    "segment_gru",
    "encoder_decoder",
    "bidirectional",
)
RECURSIVE = ("narx", "jordan")
"""One-step maps, whose skip is one too."""
FEW = ("tdnn", "rnn", "lstm", "gru")
"""Of the cells beside the base cells."""
REFERENCES = ("ridge", "arx", "boosting", "naive")
ENTRIES = {
    "ridge": {"family": "ridge"},
    "arx": {"family": "arx"},
    "boosting": {"family": "sklearn"},
    "naive": {"family": "naive"},
}
BASE = (
    *("linear", "fading 40", "volatility", "fading 5", "threshold", "load", "delay 40"),
    *("stations", "counts", "fading 150"),
)


@dataclass(frozen=True)
class Setting:
    """Everything of a cell but the model."""

    system: str
    lookback: int
    series: int
    months: int


@dataclass(frozen=True)
class Cell(Setting):
    """One row of the results; references have no skip and no steps."""

    architecture: str
    skip: str
    steps: int


@dataclass(frozen=True)
class CellResult(Cell):
    """What was measured; changes are shares of the error of a reference, `low` and `high` the
    ends of their 95 % intervals. `skip`: what the network stands on, by itself.
    """

    mae: float
    versus_naive: float
    versus_ridge: float
    ridge_low: float
    ridge_high: float
    ridge_p: float
    ridge_detectable: float
    versus_skip: float
    skip_low: float
    skip_high: float
    skip_p: float
    versus_boosting: float
    boosting_low: float
    boosting_high: float
    boosting_p: float
    lowest_seed: float
    highest_seed: float
    best_steps: str
    learning_rate: float
    l1: float
    parameters: int
    seconds: float
    commit: str


def base_setting(name: str) -> Setting:
    system = SYSTEMS[name]
    return Setting(name, system.lookback, system.series, system.months)


def planned_cells() -> Iterator[Cell]:
    """What answers the question first: base cells on the ridge, then one factor at a time."""
    fading = base_setting("fading 40")
    yield from cells_of(base_setting("delay 40"), ("mlp", "tdnn", "narx", "gru"))
    for name in ("fading 40", "fading 5", "linear", "threshold", "volatility"):
        yield from cells_of(base_setting(name), ("mlp", "tdnn", "narx"))
    yield from cells_of(base_setting("load"), FEW)
    yield from cells_of(base_setting("delay 40"), ("ffnn", *FEW))
    for lookback in (24, 672):
        yield from cells_of(replace(fading, lookback=lookback), FEW)
    for name in BASE[:7]:
        yield from cells_of(base_setting(name), ARCHITECTURES)
    for name in BASE[1:3]:
        yield from cells_of(base_setting(name), ARCHITECTURES, "last")
    for name in BASE[7:9]:
        yield from cells_of(base_setting(name), ARCHITECTURES)
    for series in (4, 12):
        yield from cells_of(replace(fading, series=series), FEW)
    for months in (6, 36):
        yield from cells_of(replace(fading, months=months), FEW)
    for series in (4, 6):
        yield from cells_of(replace(base_setting("stations"), series=series), FEW)
    for name, lookback in (("load", 24), ("load", 672), ("volatility", 168), ("counts", 24)):
        yield from cells_of(replace(base_setting(name), lookback=lookback), FEW)
    for name in ("load", "stations"):
        for months in (6, 36):
            yield from cells_of(replace(base_setting(name), months=months), FEW)
    for skip in ("linear", "last"):
        for name in BASE:
            yield from cells_of(base_setting(name), ARCHITECTURES, skip)


def cells_of(
    setting: Setting, architectures: Sequence[str], skip: str = "linear"
) -> Iterator[Cell]:
    """The references, then every architecture."""
    is_simulated = SYSTEMS[setting.system].file is None
    for reference in (*REFERENCES, *(["bound"] if is_simulated else [])):
        yield Cell(**asdict(setting), architecture=reference, skip="", steps=0)
    for architecture in architectures:
        yield Cell(**asdict(setting), architecture=architecture, skip=skip, steps=STEPS)


def entry(architecture: str, lookback: int, rate: float, l1: float) -> dict[str, object]:
    """As in models.yaml: one hidden layer of `UNITS`, taps and warm-up over the whole lookback."""
    if architecture in ENTRIES:
        return ENTRIES[architecture]
    taps = math.ceil(math.sqrt(lookback))
    options: dict[str, dict[str, object]] = {
        "mlp": {"lags": lookback},
        "tdnn": {"taps": taps, "dilation": taps},
        "narx": {"target_lags": lookback, "input_lags": 0},
        "lstm": {"layers": 1},
        "gru": {"layers": 1},
        "segment_gru": {"segment": 24 if lookback > 24 else 6},
        "bidirectional": {"units": UNITS // 2},
    }
    return {
        "family": architecture,
        "units": UNITS,
        "burn_in": lookback,
        "batch_size": 32,
        "learning_rate": rate,
        "training": {"l1": l1},
        **options.get(architecture, {}),
    }


@cache
def observed(setting: Setting, folder: Path) -> Observed:
    system = SYSTEMS[setting.system]
    return system.observe(folder, setting.series, setting.months * system.rows_per_month)


@cache
def data_and_problem(setting: Setting, folder: Path) -> tuple[Data, Problem]:
    system, values = SYSTEMS[setting.system], observed(setting, folder).values
    rows = values.shape[1]
    data = Data(
        {f"s{number:02d}": series for number, series in enumerate(values)},
        validation=round(VALIDATION_SHARE * rows),
        test=round(TEST_SHARE * rows),
        season_length=system.season_length,
        freq=system.freq,
        calendar_features=system.calendar_features,
    )
    return data, one_model.problem(data, recipe({}, "none", setting), system.horizon)


def recipe(model: dict[str, object], skip: str, setting: Setting) -> Recipe:
    step_size = 7 if SYSTEMS[setting.system].horizon > 1 else 3
    return Recipe(model, skip or "none", setting.lookback, steps=STEPS, step_size=step_size)


def trial(cell: Cell, folder: Path, rate: float = 0.0, l1: float = 0.0) -> Trial:
    setting = setting_of(cell)
    data, problem = data_and_problem(setting, folder)
    model = recipe(entry(cell.architecture, cell.lookback, rate, l1), cell.skip, setting)
    return Trial(data, model, SYSTEMS[cell.system].horizon, problem=problem)


def setting_of(cell: Cell) -> Setting:
    return Setting(*(getattr(cell, field.name) for field in fields(Setting)))


def absolute_errors(pairs: one_model.Pairs) -> np.ndarray:
    """(n,): at each origin the mean over series and steps."""
    return np.mean([np.abs(forecast - truth).mean(axis=1) for forecast, truth in pairs.values()], 0)


@dataclass(frozen=True)
class Scored:
    """A model on the test block: its loss at each origin, and what it took."""

    losses: np.ndarray
    seconds: float
    parameters: int = 0
    learning_rate: float = math.nan
    l1: float = math.nan
    best_steps: tuple[int, ...] = ()
    seed_losses: tuple[float, ...] = ()


@cache
def score_reference(setting: Setting, reference: str, folder: Path) -> Scored:
    """A model without seeds, or the conditional mean of a simulated system."""
    began = time.process_time()
    if reference == "bound":
        record = observed(setting, folder)
        start = record.values.shape[1] - round(TEST_SHARE * record.values.shape[1])
        return Scored(np.abs(record.values - record.mean)[:, start:].mean(axis=0), 0.0)
    fitted = trial(Cell(**asdict(setting), architecture=reference, skip="", steps=0), folder)
    pairs, details = fitted.test(1)
    return Scored(absolute_errors(pairs), time.process_time() - began, details["parameters"])


def score_network(cell: Cell, folder: Path) -> Scored:
    """By the choice with the lowest validation error of the first seed, the mean of all seeds."""
    began = time.process_time()
    trials = {choice: trial(cell, folder, *choice) for choice in CHOICES}
    errors = {choice: absolute_errors(each.validation()).mean() for choice, each in trials.items()}
    best = min(CHOICES, key=errors.__getitem__)
    final = trials[best].final_fits(SEEDS)
    by_seed = [trials[best].forecasts([fitted], "test") for fitted in final]
    mean = {
        uid: (np.mean([pairs[uid][0] for pairs in by_seed], axis=0), truth)
        for uid, (_, truth) in by_seed[0].items()
    }
    return Scored(
        absolute_errors(mean),
        time.process_time() - began,
        final[0].forecaster.n_params,
        *best,
        tuple(fitted.best_step for fitted in final),
        tuple(float(absolute_errors(pairs).mean()) for pairs in by_seed),
    )


def skip_model(cell: Cell) -> str:
    """The reference that is the skip standing alone; of a reference the ridge."""
    if cell.skip == "last":
        return "naive"
    return "arx" if cell.architecture in RECURSIVE else "ridge"


def measure(cell: Cell, folder: Path, commit: str) -> CellResult:
    """Fit, forecast and test one cell."""
    references = {name: score_reference(setting_of(cell), name, folder) for name in REFERENCES}
    if cell.skip:
        scored = score_network(cell, folder)
    else:
        scored = score_reference(setting_of(cell), cell.architecture, folder)
    horizon = SYSTEMS[cell.system].horizon
    compared: dict[str, float] = {}
    against = {"ridge": "ridge", "skip": skip_model(cell), "boosting": "boosting"}
    for name, reference in against.items():
        reference_losses = references[reference].losses
        test = diebold_mariano(scored.losses, reference_losses, horizon=horizon)
        loss = reference_losses.mean()
        compared |= {
            f"versus_{name}": test.relative_difference,
            f"{name}_low": test.ci_low / loss,
            f"{name}_high": test.ci_high / loss,
            f"{name}_p": test.p,
        }
        if name == "ridge":
            compared["ridge_detectable"] = test.detectable
    return CellResult(
        **asdict(cell),
        **compared,
        mae=scored.losses.mean(),
        versus_naive=scored.losses.mean() / references["naive"].losses.mean() - 1,
        lowest_seed=min(scored.seed_losses, default=math.nan),
        highest_seed=max(scored.seed_losses, default=math.nan),
        best_steps=" ".join(map(str, scored.best_steps)),
        learning_rate=scored.learning_rate,
        l1=scored.l1,
        parameters=scored.parameters,
        seconds=scored.seconds,
        commit=commit,
    )


def read_results(file: Path = FILE) -> pd.DataFrame:
    """One row per measured cell; empty where nothing was run."""
    if not file.exists():
        return pd.DataFrame(columns=[column.name for column in fields(CellResult)])
    text = {"commit": str, "skip": str, "best_steps": str}
    return pd.read_csv(file, dtype=text).fillna({"skip": "", "best_steps": ""})


def measured_cells(file: Path) -> set[Cell]:
    rows = read_results(file)[[column.name for column in fields(Cell)]]
    return {Cell(*row) for row in rows.itertuples(index=False)}


def append(result: CellResult, file: Path) -> None:
    row = pd.DataFrame([asdict(result)])
    row.to_csv(file, mode="a", header=not file.exists(), index=False, float_format="%.5g")


def run(
    cells: Sequence[Cell],
    folder: Path,
    file: Path = FILE,
    *,
    minutes: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measure and append the cells that `file` lacks, until the minutes are over."""
    begun = clock()
    done = measured_cells(file)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    for cell in dict.fromkeys(cells):
        source = SYSTEMS[cell.system].file
        is_absent = source is not None and not (folder / source).exists()
        if cell in done or is_absent:
            continue
        if clock() - begun > 60 * minutes:
            return
        result = measure(cell, folder, commit)
        append(result, file)
        print(
            f"{cell}: {result.mae:.4f}, {result.versus_ridge:+.1%} of ridge,"
            f" steps {result.best_steps}, {result.seconds:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", default="", help="systems whose name contains this")
    options = parser.parse_args()
    cells = [cell for cell in planned_cells() if options.only in cell.system]
    run(cells, options.data, minutes=options.minutes)


if __name__ == "__main__":
    main()
