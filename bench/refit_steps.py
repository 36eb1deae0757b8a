"""Errors after a refit on all data by how its networks get their number of gradient steps:
docs/decisions/0024-steps-of-a-refit.md.

    python -m bench.refit_steps 0 weather stocks     # after `forecast run`, in its project; minutes

Of every network that the run trained: the rows up to the end of the calibration block, and the
given share of the test block, are all data; the forecasts of the rest of the test block are scored.
`again`: the newest of these rows, as
many as the validation block has, choose the steps, then all are fitted; `kept`: all are fitted with
the steps of the scored fit of the seed; `scaled`: with as many more as there are more rows.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecast.backtest.all_rows import recipe_candidate
from forecast.backtest.backtest import load_tensorflow
from forecast.backtest.timeline import CandidateFitter
from forecast.config.models import load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.data.panel import from_frame
from forecast.data.records import RunRecord, read_run_records
from forecast.data.splits import Borders
from forecast.forecaster import Budget, FitResult, Forecaster, Problem
from forecast.system import files

BLOCKS = ("train", "validation", "test")
WAYS = ("again", "kept", "scaled")


def pretend_all_data(borders: Borders, share: float) -> Borders:
    """The end of that share of the test block as that of all data, with validation as long as
    before.
    """
    end = borders.calibration_end + share * (borders.test_end - borders.calibration_end)
    length = borders.validation_end - borders.train_end
    parts = {name: pretend_all_data(each, share) for name, each in borders.by_series.items()}
    return replace(
        borders, train_end=end - length, validation_end=end, calibration_end=end, by_series=parts
    )


def count_rows(problem: Problem) -> int:
    """Train rows of all series."""
    return sum(block.train[1] - block.train[0] for block in problem.blocks.values())


def errors(forecaster: Forecaster, problem: Problem) -> dict[str, np.ndarray]:
    """By series the errors (n, H, O) in the test block, in raw units."""
    rows = {uid: problem.rows(uid, "test") for uid in problem.panel.by_id}
    steps = np.arange(1, problem.panel.task.horizon + 1)
    by_series = {}
    for uid, y_hat in forecaster.predict(problem.panel, rows).items():
        values = problem.panel.by_id[uid].values[rows[uid][:, None] + steps]
        by_series[uid] = values[..., : problem.panel.outputs] - y_hat
    return by_series


def compare(problem: Problem, first: Problem, record: RunRecord, budget: Budget) -> None:
    """Print a line: steps by seed, mean error of the seeds' mean of each way in that of `again`,
    and CPU seconds.
    """
    candidate = recipe_candidate(record)
    by_way: dict[str, list[dict[str, np.ndarray]]] = {way: [] for way in WAYS}
    steps: dict[str, list[int]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    growth = count_rows(problem.joined) / count_rows(first.joined)
    for fit in record.seeds:
        fitter = CandidateFitter(candidate, fit.seed, budget)
        begun = time.process_time()
        chosen, final = fitter.fit_both(problem)
        seconds["again"] += time.process_time() - begun
        by_way["again"].append(errors(final.forecaster, problem))
        steps["again"].append(chosen.best_step)
        scaled = min(round(fit.best_step * growth), budget.steps)
        for way, count in (("kept", fit.best_step), ("scaled", scaled)):
            begun = time.process_time()
            refit = fitter.refit(problem, FitResult(chosen.forecaster, best_step=count))
            seconds[way] += time.process_time() - begun
            by_way[way].append(errors(refit.forecaster, problem))
            steps[way].append(count)
    ratios = {}
    for way, seeds in by_way.items():
        of_series = []
        for uid in seeds[0]:
            error_of_way, other = (
                np.nanmean(np.abs(np.mean([each[uid] for each in of], axis=0)))
                for of in (seeds, by_way["again"])
            )
            of_series.append(error_of_way / other)
        ratios[way] = float(np.mean(of_series))
    cells = [f"{way} {steps[way]} {ratios[way]:.4f} {seconds[way]:.1f} s" for way in WAYS]
    print(f"{record.dataset} {record.candidate}: {'; '.join(cells)}", flush=True)


def main(share: float, datasets: list[str]) -> None:
    """One line for each network of each dataset."""
    load_tensorflow()
    paths = ProjectPaths.of(Path())
    tuning = load_tuning(paths.configs)
    budget = Budget(tuning.final_steps, tuning.evaluate_every)
    for dataset in datasets:
        panel = from_frame(
            files.read_frame(paths.frame(dataset)), dataset, load_task(paths.task(dataset))
        )
        borders = Borders.from_json(files.read_json(paths.borders(dataset)))
        problem = Problem.of(panel, pretend_all_data(borders, share), BLOCKS)
        first = Problem.of(panel, borders, ("train", "validation"))
        for record in read_run_records(paths.trained(dataset)).values():
            gradient = record.params.get("trainer", "gradient") == "gradient"
            if record.is_network and gradient and not record.has_failed:
                compare(problem, first, record, budget)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
