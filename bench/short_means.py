"""Means of statistical forecasts on short simulated series, by their members.

    python -m bench.short_means SEED [SEED ...]

For each step (months, quarters, days, weeks), trend, season and noise one series a seed; the error
of the forecast of the last rows by each mean of `MEANS`, over that of the first, geometric mean.
Rule and result: docs/research/ten-minutes.md.
"""

from __future__ import annotations

import itertools
import sys
import warnings

import numpy as np
import pandas as pd

from forecast.models.families import auto_ets, theta
from forecast.system.errors import ModelError

Draw = np.random.Generator
STEPS = {
    "months": (60, 150, 12, 12),
    "quarters": (24, 48, 4, 4),
    "days": (48, 90, 7, 7),
    "weeks": (60, 61, 1, 4),
}
"""Fewest and most rows, the season, the horizon."""
TRENDS, SEASONS, NOISES = (
    ("none", "line", "walk", "break"),
    ("none", "added", "multiplied"),
    (0.03, 0.12),
)
MEANS = ("SKT", "EKT", "KT", "SEKT", "ET", "E", "K", "T")
MODELS = {
    "E": auto_ets.Spec(family="auto_ets"),
    "K": auto_ets.Spec(family="auto_ets", seasonal="kept"),
    "T": theta.Spec(family="theta"),
}


def draw_series(
    draw: Draw, count: int, season: int, trend: str, seasonal: str, noise: float
) -> np.ndarray:
    """About 100, positive; `noise` as a share of it."""
    t = np.arange(count)
    years = t / max(season, 4)
    if trend == "line":
        level = 1 + draw.choice([-1, 1], p=[0.25, 0.75]) * draw.uniform(0.02, 0.1) * years
    elif trend == "walk":
        level = 1 + np.cumsum(draw.normal(0, noise / 2, count))
    elif trend == "break":
        level = 1 + draw.choice([-0.3, 0.3]) * (t >= draw.integers(count // 3, count - season))
    else:
        level = np.ones(count)
    level = np.maximum(level, 0.1)
    profile = np.cumsum(draw.normal(0, 1, max(season, 2)))
    profile = (profile - np.linspace(profile[0], profile[-1], len(profile)))[t % len(profile)]
    profile = profile / max(profile.std(), 1e-9) * draw.uniform(0.08, 0.3)
    if season == 1 or seasonal == "none":
        y = level * (1 + noise * draw.normal(size=count))
    elif seasonal == "added":
        y = level + profile + noise * draw.normal(size=count)
    else:
        growth = np.exp(draw.uniform(0.03, 0.12) * years)
        y = level * growth * np.exp(profile + noise * draw.normal(size=count))
    return 100 * np.maximum(y, 0.02)


def forecasts_of(y: np.ndarray, season: int, horizon: int) -> dict[str, np.ndarray]:
    """By member; one that cannot be fitted is left out."""
    by_member = {"S": y[np.arange(horizon) % season - season]}
    scaled = y / y.std()
    for name, spec in MODELS.items():
        try:
            fitted = spec.fit_series(scaled, season)
        except ModelError:
            continue
        by_member[name] = fitted.forecasts(scaled, np.array([len(y) - 1]), horizon)[0] * y.std()
    return by_member


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for seed in map(int, sys.argv[1:]):
        cases = itertools.product(STEPS, TRENDS, SEASONS, NOISES)
        for number, (step, trend, seasonal, noise) in enumerate(cases):
            fewest, most, season, horizon = STEPS[step]
            draw = np.random.default_rng([351, number, seed])
            count = int(draw.integers(fewest, most))
            y = draw_series(draw, count, season, trend, seasonal, noise)
            by_member = forecasts_of(y[:-horizon], season, horizon)
            row = {"step": step, "trend": trend, "season": seasonal, "rows": count}
            for mean in MEANS:
                members = [by_member[name] for name in mean if name in by_member]
                if members:
                    row[mean] = float(np.abs(y[-horizon:] - np.mean(members, axis=0)).mean())
            rows.append(row)
    table = pd.DataFrame(rows)
    logs = np.log(table[list(MEANS)]).sub(np.log(table["SKT"]), axis=0)
    for by in ("step", "trend", "season"):
        print(np.exp(logs.groupby(table[by]).mean()).round(3).to_string())
    months = table["step"] == "months"
    print(np.exp(logs[months].groupby(table["season"]).mean()).round(3).to_string())
    print(
        "all",
        len(table),
        np.exp(logs.mean()).round(3).to_dict(),
        "error",
        logs.std().div(np.sqrt(len(logs))).round(3).to_dict(),
    )


if __name__ == "__main__":
    main()
