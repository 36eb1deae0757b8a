"""What each stage of the pipeline computes with, as JSON: its settings resolved, and the digest of
the code it runs.

DVC compares these files instead of YAML and source text, so that a stage is stale exactly when its
result can change: a title, a unit, a comment, a docstring or a model outside of the grid retrains
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forecast.backtest.candidates import Candidate, plan_candidates
from forecast.config.datasets import Dataset, Datasets, load_datasets
from forecast.config.experiment import Tuning, load_evaluation, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.system import files
from forecast.system.code_closure import PROJECT, code_digest

TEMPLATES = "forecast/report/templates"
SHOWN_FIELDS = {"title", "licence"}
"""Parts of a dataset that only the report shows; so are the columns' units."""
BUDGET_FIELDS = {
    "tune": {"n_trials", "trial_steps", "evaluate_every", "base_seed"},
    "train": {"final_steps", "evaluate_every", "seeds"},
    "compare": {"n_trials", "trial_steps", "final_steps", "seeds"},
}
"""Stage to what it reads of configs/tuning.yaml."""


def stage_settings(paths: ProjectPaths) -> dict[str, dict[str, Any]]:
    """Relative file name → its content, `<dataset>/<stage>.json` for every dataset that runs, and
    `report.json`.

    Raises `InputError` for a configuration that cannot be read.
    """
    datasets, tuning = load_datasets(paths.configs), load_tuning(paths.configs)
    models, evaluation = (
        load_models(paths.configs),
        load_evaluation(paths.configs).model_dump(mode="json"),
    )
    combined = {name: rule.model_dump(mode="json") for name, rule in models.combinations().items()}
    settings_by_file: dict[str, dict[str, Any]] = {"report.json": _report(datasets)}
    for name in datasets.run:
        entry = datasets.datasets[name]
        grid = plan_candidates(
            models, season_length=entry.season_length, vintages=bool(entry.vintage_columns)
        )
        looked_up = [c.joined.dataset for c in entry.columns if c.joined and c.joined.dataset]
        sources = {
            name: _settings_that_compute(datasets.datasets[name])
            for name in dict.fromkeys([name, *looked_up])
        }
        for stage, content in {
            "fetch": {"datasets": sources, "code": _code_digest("fetch")},
            "prepare": {"datasets": sources, "code": _code_digest("prepare")},
            "tune": _stage_content(
                "tune", entry, tuning, [c for c in grid if c.spec.search_space()]
            ),
            "train": {**_stage_content("train", entry, tuning, grid), "combinations": combined},
            "compare": {**_stage_content("compare", entry, tuning, []), "evaluation": evaluation},
        }.items():
            settings_by_file[f"{name}/{stage}.json"] = content
    return settings_by_file


def _settings_that_compute(entry: Dataset) -> dict[str, Any]:
    """The entry without what is only shown."""
    content = entry.model_dump(mode="json", exclude=SHOWN_FIELDS)
    for column in (*content["target"], *content["past_exogenous"], *content["future_exogenous"]):
        del column["unit"]
    return content


def _stage_content(
    name: str, entry: Dataset, tuning: Tuning, grid: list[Candidate]
) -> dict[str, Any]:
    """What tuning, training and the comparison are told alike; the comparison finds candidates by
    their results.
    """
    return {
        "task": entry.task.model_dump(mode="json"),
        "budget": tuning.model_dump(mode="json", include=BUDGET_FIELDS[name]),
        "candidates": {
            c.name: {"spec": c.spec.model_dump(mode="json"), "skip": c.skip} for c in grid
        },
        "code": _code_digest(name, grid),
    }


def _report(datasets: Datasets) -> dict[str, Any]:
    entries = {name: datasets.datasets[name].model_dump(mode="json") for name in datasets.run}
    templates = {path.name: files.sha256(path) for path in sorted((PROJECT / TEMPLATES).glob("*"))}
    return {
        "run": datasets.run,
        "datasets": entries,
        "code": _code_digest("report"),
        "templates": templates,
    }


def _code_digest(stage: str, grid: Iterable[Candidate] = ()) -> str:
    """The digest of what the stage runs; of what is found by name, all, or with a grid what its
    candidates use.
    """
    families = sorted({module for candidate in grid for module in candidate.spec.modules()})
    return code_digest([f"pipelines.{stage}", *families], found_by_name=not families)
