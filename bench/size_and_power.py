"""Size and power of the test of equal accuracy: the tables of docs/research/paired-tests.md.

    python -m bench.size_and_power [FOLDER]

Loss differences are simulated, and with a FOLDER of panels also drawn from autoregressions that are
fitted to the differences of real losses there (innovations resampled). Power is relative to the
test that knows the variance of the mean, at differences that it finds in 50, 80 and 90 % of the
samples; the lowest of the three is printed. The table of few horizons is of `diebold_mariano` on
pairs of losses. Seeded: the tables come out the same.
"""

from __future__ import annotations

import itertools
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import signal, stats

from forecast.comparison.longrun import dependence, standard_error
from forecast.comparison.paired_tests import MINIMUM, diebold_mariano

SAMPLES = 1000
LEVEL = 0.05
ORACLE_POWER = {0.5: 1.96, 0.8: 2.80, 0.9: 3.24}
"""Share of samples in which the known variance suffices, to the difference in standard errors."""
WARM_UP = 500


@dataclass(frozen=True)
class Origins:
    """How many origins there are, and how they lie, in time steps."""

    count: int
    horizon: int
    step_size: int = 1


SIMULATED = {
    "four years of weeks": Origins(208, 12),
    "three years of weeks": Origins(160, 13),
    "two years of weeks": Origins(104, 4),
    "eight weeks of hours, every 6": Origins(224, 24, 6),
    "eight weeks of hours, every 24": Origins(56, 24, 24),
    "eight weeks of hours, two days ahead": Origins(112, 48, 12),
    "a year of hours, every 6": Origins(1460, 24, 6),
    "a year of days, two weeks ahead": Origins(365, 14),
    "a year of days": Origins(365, 1),
    "three years of sessions": Origins(755, 5),
    "ten years of quarters": Origins(40, 4),
}
PERSISTENCE = (0.0, 0.5, 0.9)
"""Coefficient of the AR(1) from one time step to the next, whose means over the horizon are the
loss differences.
"""


SEPARATE = (2, 3, 4, 5, 7, 9, 11)
OVERLAPS = (2, 4, 8, 24)
"""Separate horizons, and origins in each, of the table of few horizons."""
HORIZON = 24
LAST_AGAINST_SEASON = "last value against last season, noise"
PAIRS = (
    "absolute, AR 0",
    "absolute, AR 0.8",
    "absolute, AR 0.95",
    "exponential, AR 0",
    "exponential, AR 0.8",
    LAST_AGAINST_SEASON,
)
"""Losses of two forecasters that are alike: of their errors, which share half of their variance."""
LOWER = {"absolute": 0.7, "exponential": 0.6, "last": 0.7}
"""The losses of the better one in the samples of power, times those of the other."""


@dataclass(frozen=True)
class Panel:
    """A file of the panels, and how its target is forecast."""

    file: str
    target: str
    origins: Origins
    season: int
    unit: str = ""
    """The value of `unique_id` that is read; empty: all series, their losses averaged by time."""
    is_log: bool = False


DECIDING = {
    "electricity load": Panel("vic_elec_halfhourly.parquet", "Demand", Origins(224, 48, 12), 48),
    "a year of load": Panel("vic_elec_halfhourly.parquet", "Demand", Origins(1460, 48, 12), 48),
    "household power": Panel(
        "uci_household_power_hourly.parquet", "Global_active_power", Origins(224, 24, 6), 24
    ),
    "bike rentals": Panel("uci_bike_sharing_hourly.csv", "cnt", Origins(1400, 24, 6), 24),
    "arrivals": Panel("iowa_ed_arrivals_hourly.csv", "Arrivals", Origins(1460, 24, 6), 24),
    "Delhi's temperature": Panel("delhi_climate_daily.csv", "meantemp", Origins(365, 14), 7),
    "dengue": Panel("dengue_weekly.csv", "total_cases", Origins(208, 4), 52, unit="sj"),
    "dengue, a quarter ahead": Panel(
        "dengue_weekly.csv", "total_cases", Origins(208, 13), 52, unit="sj"
    ),
    "volatility": Panel("spy_realized_measures_daily.csv", "RV5", Origins(700, 5), 1, is_log=True),
    "machine temperature": Panel(
        "nab_machine_temperature_5min.csv", "machine_temperature", Origins(800, 12, 12), 288
    ),
}
CONFIRMING = {
    "German load": Panel("opsd_germany_daily.csv", "Consumption", Origins(365, 14), 7),
    "electricity price": Panel("epf_belgium_price_hourly.csv", "Price", Origins(365, 24, 24), 24),
    "oil price": Panel("energy_spot_prices_daily.csv", "brent_usd_bbl", Origins(755, 5), 1),
    "sunspots": Panel("sunspots_daily.csv", "sunspot_number", Origins(755, 27), 27),
    "calls": Panel("bank_calls_5min.csv", "Calls", Origins(200, 169, 24), 169),
}


def differences(coefficient: float, origins: Origins, rng: np.random.Generator) -> np.ndarray:
    """(samples, origins) of mean zero: means over the horizon of an AR(1) from step to step."""
    length = origins.count * origins.step_size + origins.horizon
    noise = rng.standard_normal((SAMPLES, length + WARM_UP))
    series = signal.lfilter([1], [1, -coefficient], noise, axis=1)[:, WARM_UP:]
    over_horizon = signal.lfilter(np.ones(origins.horizon) / origins.horizon, [1], series, axis=1)
    return np.asarray(over_horizon[:, origins.horizon :: origins.step_size][:, : origins.count])


def resampled(values: np.ndarray, origins: Origins, rng: np.random.Generator) -> np.ndarray:
    """(samples, origins) of mean zero, from an autoregression fitted to `values` (n,) whose order
    reaches over twice the origins that overlap.
    """
    order = min(2 * math.ceil(origins.horizon / origins.step_size) + 2, len(values) // 5)
    centred = values - values.mean()
    lags = np.lib.stride_tricks.sliding_window_view(centred[:-1], order)[:, ::-1]
    coefficients = np.linalg.lstsq(lags, centred[order:], rcond=None)[0]
    innovations = centred[order:] - lags @ coefficients
    drawn = rng.choice(innovations - innovations.mean(), (SAMPLES, origins.count + WARM_UP))
    roots = np.roots(np.concatenate([[1.0], -coefficients]))
    shrunk = np.where(np.abs(roots) > 0.985, 0.985 * roots / np.abs(roots), roots)
    return np.asarray(signal.lfilter([1], np.real(np.poly(shrunk)), drawn, axis=1)[:, WARM_UP:])


def size_and_power(samples: np.ndarray, origins: Origins) -> dict[str, float]:
    """In %: how often a true null is rejected, and the lowest share of the oracle's power."""
    allowed = dependence(origins.count, horizon=origins.horizon, step_size=origins.step_size)
    errors = [standard_error(sample, allowed) for sample in samples]
    widths = np.array([error.value for error in errors])
    dof = np.array([error.dof for error in errors])
    means = samples.mean(axis=1)

    def rejected(shift: float) -> float:
        ratios = np.abs(means + shift * means.std()) / widths
        return float(np.mean(2 * stats.t.sf(ratios, dof) < LEVEL))

    shares = [rejected(shift) / power for power, shift in ORACLE_POWER.items()]
    return {
        "size": 100 * rejected(0.0),
        "power, % of known variance": 100 * min(shares),
        "degrees of freedom": float(dof[0]),
    }


def pair_of_losses(kind: str, origins: Origins, rng: np.random.Generator) -> list[np.ndarray]:
    """Twice (samples, origins): mean losses over the horizon of two forecasters that are alike."""
    horizon, step_size = origins.horizon, origins.step_size
    if kind == LAST_AGAINST_SEASON:
        y = rng.standard_normal((SAMPLES, origins.count * step_size + 2 * horizon))
        windows = np.lib.stride_tricks.sliding_window_view(y, 2 * horizon, axis=1)
        windows = windows[:, : origins.count * step_size : step_size]
        actual, season = windows[..., horizon:], windows[..., :horizon]
        return [np.abs(actual - past).mean(axis=2) for past in (season[..., -1:], season)]
    coefficient = float(kind.split()[-1])
    length = origins.count * step_size + horizon + WARM_UP

    def draw() -> np.ndarray:
        noise = math.sqrt(1 - coefficient**2) * rng.standard_normal((SAMPLES, length))
        return np.asarray(signal.lfilter([1], [1, -coefficient], noise, axis=1)[:, WARM_UP:])

    shared = draw()
    losses = []
    for _ in range(2):
        error = shared + 0.7 * draw()
        loss = np.abs(error) if kind.startswith("absolute") else np.exp(error)
        means = signal.lfilter(np.ones(horizon) / horizon, [1], loss, axis=1)
        losses.append(means[:, horizon - 1 :: step_size][:, : origins.count])
    return losses


def table_of_few_horizons() -> pd.DataFrame:
    """By separate horizons, in %: the lowest, median and highest size of the kinds of pairs and
    overlaps, how many are above 7 %, and the median power.
    """
    rows = []
    for separate, overlap, kind in itertools.product(SEPARATE, OVERLAPS, PAIRS):
        origins = Origins(separate * overlap, HORIZON, HORIZON // overlap)
        if origins.count < MINIMUM:
            continue
        rng = np.random.default_rng(zlib.crc32(f"{separate} {overlap} {kind}".encode()))
        first, second = pair_of_losses(kind, origins, rng)
        lower = LOWER[kind.partition(",")[0].partition(" ")[0]]
        shares = {}
        for name, factor in (("size", 1.0), ("power", lower)):
            tests = [
                diebold_mariano(factor * a, b, horizon=origins.horizon, step_size=origins.step_size)
                for a, b in zip(first, second, strict=True)
            ]
            shares[name] = 100 * float(np.mean([test.p < LEVEL for test in tests]))
        rows.append({"separate horizons": separate, **shares})
    grouped = pd.DataFrame(rows).groupby("separate horizons")
    size = grouped["size"]
    return pd.DataFrame(
        {
            "cases": size.size(),
            "lowest size": size.min(),
            "median size": size.median(),
            "highest size": size.max(),
            "above 7 %": size.apply(lambda sizes: int((sizes > 7).sum())),
            "median power": grouped["power"].median(),
        }
    )


def loss_differences(panel: Panel, folder: Path) -> dict[str, np.ndarray]:
    """By pair the loss differences of naive, seasonal naive and two ridges over the newer half."""
    path = folder / panel.file
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if panel.unit:
        table = table[table["unique_id"] == panel.unit]
    y = table[panel.target].interpolate(limit_direction="both").to_numpy(dtype=float)
    y = np.log(y) if panel.is_log else y
    horizon, step_size = panel.origins.horizon, panel.origins.step_size
    half, lags = len(y) // 2, max(14, min(2 * horizon, 48))
    origins = np.arange(half, len(y) - horizon, step_size)
    ahead = np.arange(1, horizon + 1)
    actual = y[origins[:, None] + ahead]

    def loss(forecast: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(actual - forecast).mean(axis=1))

    train = np.arange(lags, half - horizon, max(1, step_size // 2))
    past = np.arange(lags)
    inputs, targets = y[train[:, None] - past], y[train[:, None] + ahead]
    inputs, targets = inputs - y[train, None], targets - y[train, None]
    losses = {"naive": loss(y[origins, None])}
    if panel.season > 1:
        back = panel.season * -(-ahead // panel.season)
        losses["seasonal naive"] = loss(y[origins[:, None] + ahead - back])
    for name, penalty in (("ridge", 0.01), ("stiff ridge", 1.0)):
        gram = inputs.T @ inputs
        penalised = gram + penalty * np.trace(gram) / lags * np.eye(lags)
        weights = np.linalg.solve(penalised, inputs.T @ targets)
        losses[name] = loss(
            (y[origins[:, None] - past] - y[origins, None]) @ weights + y[origins, None]
        )
    pairs = [("naive", "seasonal naive"), ("ridge", "stiff ridge"), ("ridge", "naive")]
    return {f"{a} - {b}": losses[a] - losses[b] for a, b in pairs if a in losses and b in losses}


Draw = Callable[[np.random.Generator], np.ndarray]


def simulated_cases() -> Iterator[tuple[str, Origins, Draw]]:
    """Name, origins and samples of every simulated case."""
    for name, origins in SIMULATED.items():
        for coefficient in PERSISTENCE:

            def draw(
                rng: np.random.Generator, origins: Origins = origins, c: float = coefficient
            ) -> np.ndarray:
                return differences(c, origins, rng)

            yield f"{name}, AR {coefficient:g}", origins, draw


def real_cases(panels: dict[str, Panel], folder: Path) -> Iterator[tuple[str, Origins, Draw]]:
    """Name, origins and samples of every pair of every panel."""
    for name, panel in panels.items():
        for pair, values in loss_differences(panel, folder).items():

            def draw(
                rng: np.random.Generator, values: np.ndarray = values, panel: Panel = panel
            ) -> np.ndarray:
                return resampled(values, panel.origins, rng)

            yield f"{name}: {pair}", panel.origins, draw


def table(cases: Iterator[tuple[str, Origins, Draw]]) -> pd.DataFrame:
    """One row per case."""
    rows = []
    for name, origins, draw in cases:
        samples = draw(np.random.default_rng(zlib.crc32(name.encode())))
        separate = origins.count * origins.step_size / origins.horizon
        rows.append(
            {
                "loss differences": name,
                "origins": origins.count,
                "horizon": origins.horizon,
                "separate horizons": min(separate, origins.count),
                **size_and_power(samples, origins),
            }
        )
    return pd.DataFrame(rows)


def print_summary(title: str, results: pd.DataFrame) -> None:
    """The table, and how many of its rows hold what a test should."""
    print(f"\n{title}\n{results.round(1).to_string(index=False)}")
    enough = results["separate horizons"] >= 30
    power = results["power, % of known variance"]
    for words, rows in (("30 separate horizons or more", enough), ("fewer", ~enough)):
        if rows.any():
            print(
                f"{words}: size above 7 % in {int((results['size'][rows] > 7).sum())}, power below"
                f" 80 % in {int((power[rows] < 80).sum())} of {int(rows.sum())};"
                f" largest size {results['size'][rows].max():.1f} %, median power"
                f" {power[rows].median():.0f} %"
            )


def main(arguments: list[str]) -> None:
    """Print every table; the confirming panels last."""
    print_summary("Simulated", table(simulated_cases()))
    print(f"\nFew separate horizons\n{table_of_few_horizons().round(1).to_string()}")
    if arguments:
        folder = Path(arguments[0])
        print_summary("Deciding panels", table(real_cases(DECIDING, folder)))
        print_summary("Confirming panels", table(real_cases(CONFIRMING, folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
