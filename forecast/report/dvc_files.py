"""The files that DVC shows of a run, written by stage `report`: reports/metrics.json, with the
errors of the selected models for `dvc metrics`, and the four tables of reports/plots/ for `dvc
plots`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from forecast.comparison.intervals import join_filled
from forecast.config.paths import ProjectPaths
from forecast.data.results import DIGITS, MEAN, SPREAD, Results, as_reported
from forecast.system.files import write_json, write_text

LABELS = ["dataset", "ranking", "model"]
ERROR_COLUMNS = [*LABELS, "metric", "error", "low", "high"]
CURVE_COLUMNS = [*LABELS, "seed", "step", "training_loss", "validation_loss"]


def write(paths: ProjectPaths, datasets: Iterable[str]) -> None:
    """Write reports/metrics.json and the tables of reports/plots/."""
    results = [Results(paths, name) for name in datasets]
    write_json(paths.reports / "metrics.json", {r.name: selected_errors(r) for r in results})
    tables = {
        "errors": [errors_by_model(r) for r in results],
        "by_step": [changes_by_step(r) for r in results],
        "calibration": [r.reliability.assign(dataset=r.name) for r in results],
        "learning_curves": [learning_curves(r) for r in results],
    }
    for name, parts in tables.items():
        _write_table(paths, name, parts)


def selected_errors(results: Results) -> dict[str, dict[str, float | str]]:
    """By ranking the selected model, its headline error on test and its skill."""
    figures: dict[str, dict[str, float | str]] = {}
    for ranking in results.rankings:
        model = results.selected_model(ranking)
        score = results.score(model, ranking) if model else None
        if model and score:
            metric = results.headline_metric
            figures[ranking] = {
                "model": model,
                metric: as_reported(score[metric]),
                "skill": as_reported(score["skill"]),
            }
    return figures


def errors_by_model(results: Results) -> pd.DataFrame:
    """The headline error of each model on test, with those of its best and worst seed."""
    metric = results.headline_metric
    board = results.leaderboard
    board = board[(board["status"] == "ok") & board[metric].notna()]
    seeds = board[~board["seed"].isin([MEAN, SPREAD])]
    extremes = seeds.groupby(["ranking", "model"])[metric].agg(low="min", high="max")
    means = board[board["seed"] == MEAN].rename(columns={metric: "error"})
    table = means.join(extremes, on=["ranking", "model"])
    return table.assign(dataset=results.name, metric=metric)[ERROR_COLUMNS]


def changes_by_step(results: Results) -> pd.DataFrame:
    """The change of the error of each model against naive, by step of the horizon."""
    means = results.by_step[results.by_step["seed"] == MEAN]
    table = means.assign(dataset=results.name, change=-means["skill"])
    return table[[*LABELS, "step", "change"]]


def learning_curves(results: Results) -> pd.DataFrame:
    """The training and validation loss of every seed of every network, by gradient step or by
    iteration of Levenberg-Marquardt.
    """
    rows = []
    for record in results.records.values():
        for seed in record.seeds if record.is_network else ():
            labels = (results.name, record.ranking, record.model, seed.seed)
            rows += [(*labels, *point) for point in seed.curve]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def _write_table(paths: ProjectPaths, name: str, parts: list[pd.DataFrame]) -> None:
    """Write reports/plots/<name>.csv: the rows of all `parts`, each with a `label` (model and
    ranking) and the name of the `line` that it belongs to. Without rows only the header is written.
    """
    table = join_filled(parts)
    table["label"] = table["model"] + " (" + table["ranking"] + ")"
    within = [column for column in ("seed", "series") if column in table]
    line_names = table[["label", *within]].itertuples(index=False)
    table["line"] = [" ".join(map(str, parts)) for parts in line_names]
    text = table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
    write_text(paths.reports / "plots" / f"{name}.csv", text)
