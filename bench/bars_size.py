"""How often a forecast that is as good as the best simple one is called better, and how often one
that is better: the table of the bar in docs/research/paired-tests.md.

    python -m bench.bars_size [SAMPLES]

For each kind of series below a candidate is the simple forecast with the lowest true error, a share
of what will happen, and so much noise that both have the same true error. That is found on
`CALIBRATION` samples of its own: to be wrong by a fifth of the test's standard error would turn a
size of 2.5 % into 4 %. The left figure of a cell is the share of samples, in percent, in which a
rule calls the candidate better; at most 2.5 is wanted of a two-sided test of 5 %. The right one is
that share where each of its losses is smaller by what the test that knows the variance of the mean
finds in 80 % of the samples. Seeded: the table comes out the same.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import signal
from scipy.optimize import brentq

from bench.size_and_power import LEVEL, ORACLE_POWER
from forecast.comparison.losses import NEAR_BAR
from forecast.comparison.paired_tests import diebold_mariano
from forecast.comparison.verdicts import holm

SAMPLES = 1000
CALIBRATION = 2000
BATCH = 100
"""Samples drawn at once."""
VALIDATION = 150
"""Origins before the test block: they choose the bar."""
PAST, LOOKBACK, SEASON = 600, 60, 7
"""Rows before the first origin, of a mean over the lookback, and of a season."""
SHARE = 0.15
"""Of what will happen, in a candidate."""
Draw = np.random.Generator
Shape = tuple[int, int]


def draw_noise(draw: Draw, shape: Shape) -> np.ndarray:
    """Independent errors with fat tails."""
    return draw.standard_t(4, shape)


def autoregression(coefficient: float) -> Callable[[Draw, Shape], np.ndarray]:
    """What draws series (samples, rows) of an AR(1)."""
    return lambda draw, shape: np.asarray(
        signal.lfilter([1], [1, -coefficient], draw_noise(draw, shape), axis=1)
    )


def walking_level(draw: Draw, shape: Shape) -> np.ndarray:
    """Noise about a level that walks."""
    return draw_noise(draw, shape) + np.cumsum(0.15 * draw_noise(draw, shape), axis=1)


def weekly(draw: Draw, shape: Shape) -> np.ndarray:
    """Noise about a season of seven rows."""
    return draw_noise(draw, shape) + 2 * np.sin(2 * np.pi * np.arange(shape[1]) / SEASON)


def yearly(draw: Draw, shape: Shape) -> np.ndarray:
    """Days of an AR(1) about a wave of a year."""
    year = 365.25
    phases = draw.uniform(0, year, (shape[0], 1))
    wave = 6 * np.sin(2 * np.pi * (np.arange(shape[1]) + phases) / year)
    return autoregression(0.6)(draw, shape) + wave


KINDS: dict[str, Callable[[Draw, Shape], np.ndarray]] = {
    "white noise (returns)": draw_noise,
    "AR(1), 0.2": autoregression(0.2),
    "AR(1), 0.9": autoregression(0.9),
    "noise about a level that walks": walking_level,
    "random walk": autoregression(1.0),
    "season of 7": weekly,
    "wave of a year of days": yearly,
}


class Case(NamedTuple):
    """A kind of series, the origins of its test block, and the horizon."""

    kind: str
    n_origins: int
    horizon: int


CASES = [Case("white noise (returns)", 300, 1)]
CASES += [Case(kind, *size) for kind in KINDS for size in ((60, 12), (150, 7), (300, 5), (1000, 5))]


class Errors(NamedTuple):
    """(samples, origins, horizon) of the origins of validation and test: errors of each simple
    forecast, and noise at the same targets.
    """

    simple: dict[str, np.ndarray]
    noise: np.ndarray

    def candidate(self, strongest: str, size: float) -> np.ndarray:
        """The errors of a candidate with noise of this size."""
        return (1 - SHARE) * self.simple[strongest] + size * self.noise


def draw_errors(case: Case, samples: int, draw: Draw) -> Errors:
    """Of fresh series."""
    rows = PAST + VALIDATION + case.n_origins + case.horizon
    y = KINDS[case.kind](draw, (samples, rows))
    noise = draw_noise(draw, y.shape)
    cutoffs = np.arange(PAST, rows - case.horizon)
    targets = cutoffs[:, None] + np.arange(1, case.horizon + 1)
    sums = np.cumsum(y, axis=1)
    forecasts = {
        "last value": y[:, cutoffs, None],
        "historical mean": (sums[:, cutoffs] / (cutoffs + 1))[:, :, None],
        "mean of the lookback": (sums[:, cutoffs] - sums[:, cutoffs - LOOKBACK])[:, :, None]
        / LOOKBACK,
    }
    if case.kind == "season of 7":
        of_place = signal.lfilter([1], [1, *[0] * (SEASON - 1), -1], y, axis=1)
        before = targets - SEASON
        forecasts["last season"] = y[:, before]
        forecasts["seasonal mean"] = of_place[:, before] / (before // SEASON + 1)
    simple = {name: y[:, targets] - forecast for name, forecast in forecasts.items()}
    return Errors(simple, noise[:, targets])


def draw_batches(case: Case, samples: int, draw: Draw) -> Iterator[Errors]:
    """So many samples, some at a time."""
    for _ in range(samples // BATCH):
        yield draw_errors(case, BATCH, draw)


def find_equal(case: Case, draw: Draw) -> tuple[str, float]:
    """The strongest simple forecast, and the noise with which a candidate is exactly as good."""
    batches = [
        Errors({name: each[:, VALIDATION:] for name, each in simple.items()}, noise[:, VALIDATION:])
        for simple, noise in draw_batches(case, CALIBRATION, draw)
    ]
    strongest = min(
        batches[0].simple,
        key=lambda name: np.mean([np.abs(batch.simple[name]).mean() for batch in batches]),
    )
    simple_loss = np.mean([np.abs(batch.simple[strongest]).mean() for batch in batches])

    def excess(size: float) -> float:
        losses = [np.abs(batch.candidate(strongest, size)).mean() for batch in batches]
        return float(np.mean(losses) - simple_loss)

    return strongest, float(brentq(excess, 0.0, 9.0, xtol=1e-5))


class Losses(NamedTuple):
    """Of one sample: mean loss on validation, and the losses (n,) of the test block."""

    validation: dict[str, float]
    simple: dict[str, np.ndarray]
    candidate: np.ndarray


def losses_of(batch: Errors, strongest: str, size: float) -> Iterator[Losses]:
    """Of each sample of a batch."""
    simple = {name: np.abs(each).mean(axis=2) for name, each in batch.simple.items()}
    candidate = np.abs(batch.candidate(strongest, size)).mean(axis=2)
    for sample in range(len(candidate)):
        yield Losses(
            {name: each[sample, :VALIDATION].mean() for name, each in simple.items()},
            {name: each[sample, VALIDATION:] for name, each in simple.items()},
            candidate[sample, VALIDATION:],
        )


def name_rules(
    validation: Mapping[str, float], pvalues: Mapping[str, float], drifting: Collection[str]
) -> dict[str, float]:
    """By rule the p with which the candidate is called better, of its p against each simple
    forecast: 1 where it is not the lower one. `drifting`: those above it
    from which the difference drifts through the whole block.
    """
    lowest = min(validation, key=validation.__getitem__)
    limit = NEAR_BAR * validation[lowest]
    adjusted = dict(zip(pvalues, holm(list(pvalues.values())), strict=True))
    near = {name: p for name, p in pvalues.items() if validation[name] <= limit}
    return {
        "against the last value": pvalues["last value"],
        "lowest on validation": pvalues[lowest],
        "all, Holm": max(adjusted.values()),
        "all, highest p": max(pvalues.values()),
        "those within 10 %, highest p": max(near.values()),
        "of them those without a drift": max(
            p for name, p in near.items() if name == lowest or name not in drifting
        ),
    }


def is_called_better(case: Case, sample: Losses, gain: float) -> dict[str, bool]:
    """By rule, of a candidate whose losses are smaller by `gain`."""
    pvalues = {}
    drifting = []
    for name, losses in sample.simple.items():
        test = diebold_mariano(sample.candidate - gain, losses, horizon=case.horizon)
        pvalues[name] = test.p if test.mean_difference < 0 else 1.0
        if test.mean_difference < 0 and test.is_drift:
            drifting.append(name)
    rules = name_rules(sample.validation, pvalues, drifting)
    return {rule: p < LEVEL for rule, p in rules.items()}


def rates(case: Case, samples: int) -> dict[str, tuple[float, float]]:
    """By rule in percent: called better though as good, called better when better."""
    draw = np.random.default_rng(zlib.crc32(repr(case).encode()))
    strongest, size = find_equal(case, draw)
    drawn = [
        sample
        for batch in draw_batches(case, samples, draw)
        for sample in losses_of(batch, strongest, size)
    ]
    differences = [(each.candidate - each.simple[strongest]).mean() for each in drawn]
    gains = (0.0, ORACLE_POWER[0.8] * float(np.std(differences)))
    verdicts = [[is_called_better(case, each, gain) for each in drawn] for gain in gains]
    return {
        rule: (
            100 * float(np.mean([each[rule] for each in verdicts[0]])),
            100 * float(np.mean([each[rule] for each in verdicts[1]])),
        )
        for rule in verdicts[0][0]
    }


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for number, case in enumerate(CASES):
        cells = rates(case, samples)
        if not number:
            print(f"| series | n, horizon | {' | '.join(cells)} |\n|---|---|{'--:|' * len(cells)}")
        row = " | ".join(f"{size:.1f}, {power:.0f}" for size, power in cells.values())
        print(f"| {case.kind} | {case.n_origins:,}, {case.horizon} | {row} |", flush=True)


if __name__ == "__main__":
    main()
