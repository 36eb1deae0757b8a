"""Stage compare: scores, rankings, significance and alarms of one dataset, from the forecasts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from forecast import comparison
from forecast.comparison import comparing
from forecast.comparison.comparing import Scored
from forecast.comparison.distribution_scores import distribution_scores
from forecast.comparison.fairness import check_same_budget
from forecast.comparison.interval_tables import interval_tables
from forecast.config.datasets import Dataset, SessionCalendar, load_dataset
from forecast.config.evaluation import Evaluation, load_evaluation
from forecast.config.models import NAIVE
from forecast.config.tuning import load_tuning
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.stage import run_stage

DIGITS = "%.12g"


def main(dataset: str, root: str = ".") -> None:
    """Write data/compared/<dataset>/: the tables below as .csv, bands.parquet, residuals.json and verdicts.json."""
    place = Path(root)
    settings, evaluation = load_dataset(dataset, place / "configs"), load_evaluation(place / "configs")
    prepared = place / "data" / "prepared" / dataset
    frame = files.read_frame(prepared / "frame.parquet")
    borders = Borders.from_json(files.read_json(prepared / "borders.json"))
    trained = place / "data" / "trained" / dataset
    scored = comparing.score(trained, frame, settings, borders)
    records = [s.record for s in scored]
    exempt = check_same_budget(records, load_tuning(place / "configs"))
    naive = next(s.forecasts for s in scored if s.name == NAIVE and s.forecasts is not None)
    reference = comparing.references(frame, naive, settings, borders, "test")
    ours = [s for s in scored if s.record["family"] != comparing.SERVICE]  # its row cannot be served
    chosen = comparison.choose(comparing.losses(ours, reference.scale, "validation"))
    test = comparing.losses(scored, reference.scale, "test")
    bands = interval_tables(scored, reference.last, settings, evaluation.levels, chosen)
    verdicts = _verdicts(dataset, test, chosen, settings, evaluation)
    decided = {"interval_method": bands.decision, "refused_levels": bands.refused, "exempt_from_budget": exempt}
    tables = {
        "leaderboard": comparing.leaderboard(scored, chosen, dataset),
        "by_step": _labelled([(s, s.by_step) for s in scored]),
        "by_series": _labelled([(s, s.by_series) for s in scored]),
        "intervals": bands.intervals,
        "interval_methods": bands.methods,
        "reliability": bands.reliability,
        "variance": comparison.variance_parts(test, **_steps(settings)) if verdicts["tests"] else pd.DataFrame(),
        "change_by_step": _changes(scored, settings),
        "distributions": distribution_scores(trained, records, reference.last, evaluation.levels),
    }
    with files.atomic_directory(place / "data" / "compared" / dataset) as folder:
        for name, table in tables.items():
            files.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format=DIGITS))
        files.write_json(folder / "residuals.json", _residuals(scored, settings))
        files.write_frame(folder / "bands.parquet", bands.bands)
        files.write_json(folder / "verdicts.json", {**verdicts, **_alarms(scored, settings), **decided})


def _verdicts(
    dataset: str, test: pd.DataFrame, chosen: dict[str, str], settings: Dataset, evaluation: Evaluation
) -> dict[str, Any]:
    """Every test of the protocol, and the mean ranks, on the losses of the test block."""
    verdicts = comparison.compare(
        test,
        dataset=dataset,
        chosen=chosen,
        horizon=settings.horizon,
        season=settings.season,
        stride=settings.stride,
        skip_rows={name: name for name in test["skip"].dropna().unique()},
        alpha=evaluation.alpha,
        reps=evaluation.bootstrap_repetitions,
        seed=evaluation.bootstrap_seed,
    )
    ranks = comparison.ranked(test, alpha=evaluation.alpha)
    return {**verdicts.as_dict(), "ranks": ranks.as_dict() if ranks else None}


def _steps(settings: Dataset) -> dict[str, int]:
    return {"horizon": settings.horizon, "season": settings.season, "stride": settings.stride}


def _labelled(tables: list[tuple[Scored, pd.DataFrame | None]]) -> pd.DataFrame:
    parts = []
    for candidate, table in tables:
        if table is not None:
            own = table.copy()
            own.insert(0, "model", candidate.record["model"])
            own.insert(1, "ranking", candidate.record["ranking"])
            parts.append(own)
    return pd.concat(parts, ignore_index=True)


def _changes(scored: list[Scored], dataset: Dataset) -> pd.DataFrame:
    """Per candidate and step the change of its error against naive, mean over seeds and series, with its 95 % band.

    A candidate without rows has other origins than naive, or series whose origins differ.
    """
    naive = {cube.series: abs(cube.y_hat[0] - cube.y) for s in scored if s.name == NAIVE for cube in s.cubes}
    steps = _steps(dataset)
    rows: list[dict[str, Any]] = []
    for candidate in scored:
        pairs = [(abs(c.y_hat - c.y).mean(axis=0), naive[c.series]) for c in candidate.cubes if c.series in naive]
        if len({errors.shape for pair in pairs for errors in pair}) == 1:
            about = {key: candidate.record[key] for key in ("model", "ranking")}
            found = zip(*comparison.change_by_step(pairs, **steps), strict=True)
            rows += [{**about, "step": k, "change": c, "low": a, "high": b} for k, (c, a, b) in enumerate(found, 1)]
    return pd.DataFrame(rows, columns=["model", "ranking", "step", "change", "low", "high"])


def _residuals(scored: list[Scored], dataset: Dataset) -> list[dict[str, Any]]:
    """What the one-step test errors of every candidate's first seed still contain, per series."""
    transforms = {column.column: column.transform for column in dataset.target}
    first = dataset.target[0].transform
    found = []
    for candidate in scored:
        for cube in candidate.cubes:
            about = {k: candidate.record[k] for k in ("model", "ranking")} | {"series": cube.series}
            transform = transforms.get(cube.series.rpartition("/")[2], first)
            left = comparison.one_step(
                cube.y[:, 0], cube.y_hat[0, :, 0], transform=transform, season=dataset.season, stride=dataset.stride
            )
            found += [{**about, "seed": cube.seeds[0], **left}] if left else []
    return found


def _alarms(scored: list[Scored], dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Copies of the last value, and on daily closes what is too good to be true; judged on the seed mean."""
    found: dict[str, list[dict[str, Any]]] = {"copies": [], "leaks": []}
    for candidate in scored:
        for cube in candidate.cubes:
            arguments = (cube.y, cube.y_hat.mean(axis=0), cube.last)
            about = {k: candidate.record[k] for k in ("model", "ranking")} | {"unique_id": cube.series}
            copy = comparison.copy_check(*arguments, horizon=dataset.horizon, stride=dataset.stride)
            if copy.is_copy:
                found["copies"].append({**about, "reason": copy.reason})
            if isinstance(dataset.calendar, SessionCalendar):
                leak = comparison.leak_alarm(*arguments, horizon=dataset.horizon, stride=dataset.stride)
                if leak.raised:
                    found["leaks"].append({**about, "reason": "; ".join(leak.reasons)})
    return found


if __name__ == "__main__":
    run_stage(main)
