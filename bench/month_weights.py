"""Months and quarters with AutoETS in their mean, and with weights that leave equal ones later.

    python -m bench.month_weights SEED [NAME ...]
    python -m bench.month_weights FOLDER [NAME ...]

For each kind of `bench.month_waves` that is judged, drawn with SEED, or each deciding record of
months or quarters of FOLDER, from the entry that `forecast add` writes: over all cutoffs behind
validation the error of the mean that the grid `few` serves, in units of the last season's change,
without networks; the change of it in percent by each form of `FORMS`; and by how much the best of
`YARDSTICKS`, with hindsight, is below or above it. Weights are learnt again at each cutoff. Rule
and result: docs/research/short-histories.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from bench.ablation import RULE, Forecasts, combine
from bench.growing import fit_rows
from bench.month_waves import (
    OWN,
    YARDSTICKS,
    error_behind_validation,
    frame_of_kind,
    problem_of_rows,
    records_of,
)
from forecast.backtest import combinations
from forecast.backtest.combinations import ERROR_FLOOR, PENALTY, STACKING_ROUNDS, MemberErrors

NOW = ("ridge", "nlinear", "climatology_ar", "theta", "arima_fourier", "boosting", "boosting_last")
WITH_ETS = (*NOW, "auto_ets")
STATISTICAL = ("theta", "arima_fourier", "auto_ets")
JUDGED = ("heating_60", "passengers", "retail", "electricity", "flights", "fading")
JUDGED += ("wandering_season", "walk_of_months", "heating", "sales_of_quarters", "august")
JUDGED += ("plateau",)


class Form(NamedTuple):
    """Members of the mean, the pull towards the prior times the number of cutoffs, and how many
    times the prior weight of another member a statistical one has.
    """

    members: tuple[str, ...]
    pull: float
    statistical: float


FORMS = {
    "now": Form(NOW, 0, 1),
    "A": Form(WITH_ETS, 0, 1),
    "B": Form(WITH_ETS, 10, 1),
    "C": Form(WITH_ETS, 10, 2),
}


def solve_towards(square: np.ndarray, penalty: float, prior: np.ndarray) -> np.ndarray:
    """(k,): the w >= 0 of sum 1 with the least w'Sw + penalty min(diag S) |w - prior|^2."""
    size = float(np.trace(square)) / len(square)
    pull = penalty * square.diagonal().min() + 1e-9 * size
    root = np.linalg.cholesky(square + pull * np.eye(len(square))).T
    target = np.linalg.solve(root.T, pull * prior)
    heavy = 1e3 * np.sqrt(size)  # a row of this weight keeps the sum at 1
    weights, _ = nnls(np.vstack([root, np.full(len(square), heavy)]), np.append(target, heavy))
    return weights / weights.sum()


def stack_by(form: Form) -> Callable[[MemberErrors], np.ndarray]:
    """What takes the place of `combinations.stack`."""

    def stack(errors: MemberErrors) -> np.ndarray:
        is_statistical = np.isin(errors.members, STATISTICAL)
        prior = np.where(is_statistical, form.statistical, 1.0)
        weights = prior = prior / prior.sum()
        if sum(learns.any() for learns, _ in errors.split_folds()) < 2:
            return weights
        penalty = max(PENALTY, form.pull / len(np.unique(errors.cutoffs)))
        for _ in range(STACKING_ROUNDS):
            combined = np.abs(errors.errors @ weights)
            floor = ERROR_FLOOR * combined.mean() or 1.0
            divided = errors.errors / np.sqrt(np.maximum(combined, floor))[:, None]
            weights = solve_towards(divided.T @ divided / len(divided), penalty, prior)
        return weights

    return stack


def serve(problem: object, rows: Forecasts, form: Form) -> pd.DataFrame:
    """The table of the mean by `form`."""
    rule = RULE.model_copy(update={"members": form.members})
    with mock.patch.object(combinations, "stack", stack_by(form)):
        return combine(problem, rows, rule)


def line_of(name: str, frame: pd.DataFrame, horizon: int) -> str:
    """A row of the table."""
    problem = problem_of_rows(frame, horizon)
    rows = fit_rows(problem, tuple(dict.fromkeys((*WITH_ETS, *YARDSTICKS))))
    errors = {
        label: error_behind_validation(problem, serve(problem, rows, form))
        for label, form in FORMS.items()
    }
    now = errors.pop("now")
    errors["best yardstick"] = min(
        error_behind_validation(problem, rows[row]) for row in YARDSTICKS if row in rows
    )
    changes = [f"{100 * (error / now - 1):+.2f}" for error in errors.values()]
    return f"| {name} | {now:.4f} | {' | '.join(changes)} |"


def main() -> None:
    source, names = sys.argv[1], sys.argv[2:]
    if source.isdigit():
        for name in names or JUDGED:
            horizon = OWN[name].horizon if name in OWN else 0
            print(line_of(name, frame_of_kind(name, int(source)), horizon), flush=True)
        return
    for name, frame in records_of(Path(source)):
        if name in names or not names:
            print(line_of(name, frame, 0), flush=True)


if __name__ == "__main__":
    main()
