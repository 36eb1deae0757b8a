"""One model of the package for all series of a published table: fitted before the test block,
scored on every window.

The parts are those that `forecast.fit` and the pipeline's train stage call: `Task`, `Problem`,
`fit`, `fit_again`. A long frame of every window times every step, which those would write, does not
fit into memory here. Blocks are counted from the end of the series; the validation block chooses
penalty, lags and gradient steps, then the model is fitted again with it, and the test block is seen
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.results_file import Row
from forecast.config.task import Task
from forecast.data import splits
from forecast.data.panel import Panel, from_frame
from forecast.data.splits import Borders
from forecast.forecaster import Budget, FitResult, fit, fit_again
from forecast.forecaster.ensemble import Ensemble
from forecast.models import spec
from forecast.models.problem import Problem
from forecast.models.skip import SkipKind

END = pd.Timestamp("2020-01-01")
"""Of every series: published rows without times are hours or days that end together."""
ORIGINS = 5
"""Blocks before the test block, at most, on which the weight of a correction is settled."""


@dataclass(frozen=True)
class Data:
    """Series in the units of the table, with how many of their last rows are validation and
    test.
    """

    values: Mapping[str, np.ndarray]
    validation: int
    test: int
    season_length: int = 24
    freq: str = "1h"
    calendar_features: tuple[str, ...] = ()

    def panel(self, task: Task) -> Panel:
        parts = [
            pd.DataFrame(
                {
                    "unique_id": uid,
                    "ds": pd.date_range(end=END, periods=len(y), freq=self.freq),
                    "y": y,
                }
            )
            for uid, y in self.values.items()
        ]
        return from_frame(pd.concat(parts, ignore_index=True), "table", task)

    def borders(self) -> Borders:
        """No row calibrates intervals here: the publications have none, and the rows are theirs."""
        ends = [
            END - rows * pd.Timedelta(self.freq)
            for rows in (self.validation + self.test, self.test, self.test, 0)
        ]
        return Borders(*ends)


@dataclass(frozen=True)
class Recipe:
    """What is fitted: an entry of models.yaml, its skip, what it sees, and its gradient steps."""

    entry: Mapping[str, Any]
    skip: SkipKind = "none"
    lookback: int = 336
    difference_inputs: bool = False
    transform: str = "none"
    steps: int = 300
    step_size: int = 7  # of validation origins; every hour of the day has its turn

    @property
    def description(self) -> str:
        entry_options = {k: v for k, v in self.entry.items() if k != "family"}
        changes = {"difference_inputs": True} if self.difference_inputs else {}
        changes |= {"transform": self.transform} if self.transform != "none" else {}
        options = [f"{k} {v}" for k, v in {**entry_options, **changes}.items()]
        return ", ".join(
            [str(self.entry["family"]), f"skip {self.skip}", *options, f"lookback {self.lookback}"]
        )


Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By series the forecasts (n, H) and what came."""


def problem(data: Data, recipe: Recipe, horizon: int) -> Problem:
    column = {"name": "y", "transform": recipe.transform, "may_be_missing": False}
    task = Task.model_validate(
        {
            "target": [{**column, "difference_inputs": recipe.difference_inputs}],
            "past_exogenous": [],
            "future_exogenous": [],
            "calendar_features": list(data.calendar_features),
            "calendar": {"kind": "regular", "freq": data.freq},
            "horizon": horizon,
            "lookback": recipe.lookback,
            "season_length": data.season_length,
            "step_size": recipe.step_size,
            "calibration_step_size": 1,
        }
    )
    return Problem.of(data.panel(task), data.borders(), needed=("train", "validation", "test"))


@dataclass
class Trial:
    """A recipe on its data: fits of the train rows by seed, and what they say on validation."""

    data: Data
    recipe: Recipe
    horizon: int
    fitted: dict[int, FitResult] = field(default_factory=dict)
    problem: Problem | None = None
    """Of the same data, lookback and horizon, where another trial has made it."""

    def __post_init__(self) -> None:
        self.problem = self.problem or problem(self.data, self.recipe, self.horizon)
        self.spec = spec(dict(self.recipe.entry), where="table")
        if self.spec.is_network:
            import forecast.networks.layers  # noqa: F401  (no training pays for its import)
        self.budget = Budget(self.recipe.steps, max(self.recipe.steps // 12, 1))

    def first(self, seed: int) -> FitResult:
        if seed not in self.fitted:
            self.fitted[seed] = fit(
                self.problem, self.spec, skip=self.recipe.skip, seed=seed, budget=self.budget
            )
        return self.fitted[seed]

    def validation(self) -> Pairs:
        """Of one seed, fitted on the train rows."""
        return self.forecasts([self.first(0)], "validation")

    def final_fits(self, seeds: int) -> list[FitResult]:
        """Of each seed, fitted once more on train and validation."""
        return [
            fit_again(
                self.problem,
                self.spec,
                self.first(seed),
                skip=self.recipe.skip,
                seed=seed,
                budget=self.budget,
            )
            for seed in range(seeds if self.spec.is_seeded else 1)
        ]

    def test(self, seeds: int) -> tuple[Pairs, Row]:
        """Of the mean of `seeds` forecasts; with what they are."""
        final = self.final_fits(seeds)
        row: Row = {"recipe": self.recipe.description, "parameters": final[0].forecaster.n_params}
        if self.spec.is_seeded:
            row |= {
                "seeds": len(final),
                "best steps": [fit_result.best_step for fit_result in final],
            }
        return self.forecasts(final, "test"), row

    def forecasts(self, fitted: Sequence[FitResult], block: str) -> Pairs:
        """In the series' own units, the mean over `fitted`; every row of the test block is an
        origin.
        """
        panel, ensemble = (
            self.problem.panel,
            Ensemble(tuple(fit_result.forecaster for fit_result in fitted)),
        )
        task, blocks = panel.task, self.problem.blocks
        settings = {
            "horizon": task.horizon,
            "lookback": task.lookback,
            "step_size": 1 if block == "test" else task.step_size,
        }
        rows = {uid: splits.origins(cut, block, **settings) for uid, cut in blocks.items()}
        steps = np.arange(1, task.horizon + 1)
        return {
            uid: (y_hat[..., 0], panel.by_id[uid].values[rows[uid][:, None] + steps, 0])
            for uid, y_hat in ensemble.predict(panel, rows).items()
        }


def measured(
    data: Data,
    recipes: Sequence[Recipe],
    horizon: int,
    error: Callable[[Pairs], float],
    *,
    seeds: int,
    before: Row,
) -> Row:
    """The recipe with the lowest error on validation, and that one's error on test; a choice made
    `before` stands.
    """
    pairs, details = _test_best_recipe(data, recipes, horizon, error, seeds, before)
    return {"value": error(pairs), **details}


def _test_best_recipe(
    data: Data,
    recipes: Sequence[Recipe],
    horizon: int,
    error: Callable[[Pairs], float],
    seeds: int,
    before: Row,
) -> tuple[Pairs, Row]:
    """Forecasts of the test block by the recipe with the lowest error on validation, and what was
    tried.
    """
    names = [recipe.description for recipe in recipes]
    tried: dict[str, float] = (
        before.get("tried", {}) if set(before.get("tried", {})) == set(names) else {}
    )
    trials = (
        {} if tried else {recipe.description: Trial(data, recipe, horizon) for recipe in recipes}
    )
    tried = tried or {name: error(trial.validation()) for name, trial in trials.items()}
    best = min(names, key=lambda name: tried[name])
    trial = trials[best] if trials else Trial(data, recipes[names.index(best)], horizon)
    pairs, details = trial.test(seeds)
    return pairs, {"tried": tried, **details}


def _beside_last(
    data: Data,
    recipes: Sequence[Recipe],
    horizon: int,
    error: Callable[[Pairs], float],
    seeds: int,
    before: Row,
) -> tuple[Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], Row]:
    """By series the chosen recipe's forecasts, the last values, and what came."""
    y_hats, details = _test_best_recipe(data, recipes, horizon, error, seeds, before)
    triples = {}
    for uid, (forecasts, truth) in y_hats.items():
        first = len(data.values[uid]) - data.test
        last = data.values[uid][first - 1 : first - 1 + len(truth), None]
        triples[uid] = (forecasts, np.broadcast_to(last, truth.shape), truth)
    return triples, details


def mean_of(
    data: Data,
    recipes: Sequence[Recipe],
    horizon: int,
    error: Callable[[Pairs], float],
    *,
    seeds: int,
    before: Row,
) -> Row:
    """The equal mean of all of them: nothing is chosen."""
    tested = [Trial(data, recipe, horizon).test(seeds) for recipe in recipes]
    means = {
        uid: (np.mean([pairs[uid][0] for pairs, _ in tested], axis=0), truth)
        for uid, (_, truth) in tested[0][0].items()
    }
    recipe = " + ".join(row["recipe"] for _, row in tested)
    n_params = sum(row["parameters"] for _, row in tested)
    return {"value": error(means), "recipe": recipe, "parameters": n_params, "seeds": seeds}


def shrunk(
    data: Data,
    recipes: Sequence[Recipe],
    horizon: int,
    error: Callable[[Pairs], float],
    *,
    seeds: int,
    before: Row,
) -> Row:
    """The chosen recipe's forecast times a weight and the last value times the rest; the weight is
    of rolling origins.

    The whole procedure, with one seed, is repeated before each of the newest `ORIGINS` blocks ahead
    of the test block, each as long as validation; the weight is that of least squares over all
    their windows, between 0 and 1.
    """
    ends = [len(y) - data.test for y in data.values.values()]
    stops = [data.validation * k for k in range(ORIGINS)]
    across = along = 0.0
    for back in (stop for stop in stops if min(ends) - stop > 3 * data.validation):
        cut = {
            uid: y[: end - back] for (uid, y), end in zip(data.values.items(), ends, strict=True)
        }
        part = replace(data, values=cut, test=data.validation)
        for y_hat, last, truth in _beside_last(part, recipes, horizon, error, 1, {})[0].values():
            across, along = (
                across + np.sum((y_hat - last) * (truth - last)),
                along + np.sum((y_hat - last) ** 2),
            )
    weight = float(np.clip(across / along, 0.0, 1.0)) if along > 0.0 else 0.0
    triples, details = _beside_last(data, recipes, horizon, error, seeds, before)
    value = error(
        {
            uid: (last + weight * (y_hat - last), truth)
            for uid, (y_hat, last, truth) in triples.items()
        }
    )
    return {
        **details,
        "value": value,
        "weight": weight,
        "recipe": f"{weight:.2f} of {details['recipe']}",
    }


def mse(pairs: Pairs) -> float:
    """Every series has as many windows as the others."""
    return float(np.mean([np.mean((y_hat - truth) ** 2) for y_hat, truth in pairs.values()]))
