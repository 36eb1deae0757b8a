"""Files as a stranger brings them: the error of what is served, beside what is quickly written.

    python -m bench.unseen_files SEED [NAME ...]

For each kind of `bench.unseen_kinds`, drawn with SEED, from the entry that `forecast add` writes:
the mean absolute error of the served row (without networks, fitted again as a run has it) on the
test block, in the units of the file, in percent above that of the contender of
`bench.quarter_hour`, and above that of a ridge for each step on the contender's inputs and of each
of `SIMPLE`. These learn from the values themselves, whatever transform the entry has; series count
alike. Then coverage of the 80 and 95 % intervals, and each member's error in percent above the
served row's. Rule and result: docs/research/unseen-files.md.
"""

from __future__ import annotations

import sys
from copy import deepcopy

import numpy as np
import pandas as pd
import yaml
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench import ablation
from bench.growing import fit_rows
from bench.month_waves import SHORT
from bench.month_weights import NOW as FEW
from bench.quarter_hour import (
    Pairs,
    Row,
    Scaled,
    contender_error,
    contender_pairs,
    interval_scores,
    problem_from,
    written_entry,
)
from bench.unseen_kinds import KINDS, frame_of_kind
from forecast.forecaster import Problem

SIMPLE = ("auto_ets", "naive", "seasonal_naive", "seasonal_mean")
MEMBERS = {"": ablation.MEMBERS, "few": FEW, "yearly": FEW, "short": SHORT}
STEADY = {"yearly": SHORT}
"""By the grid of the entry."""


def ridge_error(pairs: Pairs, horizon: int, n_plans: int) -> float:
    """Of a ridge for each step on the contender's inputs, whose last are the plans, with the hour
    and the weekday as flags too.
    """

    def with_flags(x: np.ndarray) -> np.ndarray:
        hour, weekday = x.shape[1] - n_plans - 3, x.shape[1] - n_plans - 2
        flags = np.floor(x[:, [hour]]) == np.arange(24), x[:, [weekday]] == np.arange(7)
        return np.column_stack([x, *flags])

    errors = []
    for step in range(horizon):
        x, y = pairs.x[step::horizon], pairs.y[step::horizon]
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        ridge.fit(with_flags(x[np.isfinite(y)]), y[np.isfinite(y)])
        for test, target in pairs.tests:
            forecasts = ridge.predict(with_flags(test[step::horizon]))
            errors.append(np.abs(target[step::horizon] - forecasts))
    return float(np.nanmean(np.concatenate(errors)))


def row_of_table(problem: Problem, table: pd.DataFrame) -> Row:
    """The forecasts of a run, in the units of the file."""
    blocks = []
    for block in Row._fields:
        rows = table[table["block"] == block]
        arrays = [
            {
                uid: values.to_numpy().reshape(-1, problem.panel.task.horizon)
                for uid, values in rows[column].groupby(rows["unique_id"])
            }
            for column in ("y", "y_hat")
        ]
        blocks.append(Scaled(*arrays))
    return Row(*blocks)


def error_on_test(problem: Problem, table: pd.DataFrame) -> float:
    """In scaled units of `problem`, which has no transform."""
    rows = table[table["block"] == "test"]
    scale = rows["unique_id"].map({uid: of[0] for uid, of in problem.scaling.scale.items()})
    return float(((rows["y"] - rows["y_hat"]).abs() / scale.astype(float)).mean())


def plain_problem(frame: pd.DataFrame, entry: dict[str, object]) -> Problem:
    """Of the values themselves."""
    plain = deepcopy(entry)
    for option in ("transform", "difference_inputs"):
        plain["target"].pop(option, None)
    return problem_from(frame, plain)


def line_of(name: str, seed: int) -> str:
    """A row of the table."""
    frame = frame_of_kind(name, seed)
    entry = yaml.safe_load(written_entry(frame))["panel"]
    grid, plain = entry.get("grid", ""), plain_problem(frame, entry)
    problem = problem_from(frame, entry)
    steady = STEADY.get(grid, ())
    tables = fit_rows(problem, (*MEMBERS[grid], *steady))
    rule = ablation.RULE.model_copy(update={"members": MEMBERS[grid], "steady": steady})
    served = ablation.combine(problem, tables, rule)
    error = error_on_test(plain, served)
    observed = frame.loc[frame["y"].notna(), ["unique_id", "ds", "y"]]
    pairs = contender_pairs(plain, observed, KINDS[name].long_season)
    task = problem.panel.task
    with threadpool_limits(1):
        bars = {"ridge": ridge_error(pairs, task.horizon, len(task.future_exogenous))}
    for row, table in fit_rows(plain, SIMPLE).items():
        bars[row] = error_on_test(plain, table)
    over = [f"{row} {100 * (error / bar - 1):+.1f}" for row, bar in bars.items()]
    rows = [
        f"{row} {100 * (error_on_test(plain, table) / error - 1):+.1f}"
        for row, table in tables.items()
    ]
    low, high, _ = interval_scores(
        problem, row_of_table(problem, served), task.targets[0].transform
    )
    cells = [name, grid, f"{100 * (error / contender_error(pairs) - 1):+.1f}", ", ".join(over)]
    return f"| {' | '.join([*cells, f'{low:.0f}', f'{high:.0f}', ', '.join(rows)])} |"


def main() -> None:
    for name in sys.argv[2:] or KINDS:
        print(line_of(name, int(sys.argv[1])), flush=True)


if __name__ == "__main__":
    main()
