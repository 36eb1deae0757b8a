"""The settings of each pipeline stage as JSON, with the digest of the code that the stage runs.

DVC compares these files instead of YAML and source text, so that a stage is stale only when its
result can change: a title, a unit, a comment, a docstring or a model outside of the grid retrains
nothing. `stage_settings` makes the content of every file; `pipelines/settings.py` writes them. The
key of a single cached result is made by `forecast.backtest.candidates.result_key`.

The digest of a fit has the code of all that `backtest.backtest` imports. So an edit of code in
`data.quality`, `data.splits`, `config.models` or `networks.inference` makes every fit again; one
in `data.sources`, `data.preparation` or `data.columns` makes the prepared rows again, and the fits
only where these differ; one in `comparison` or `report` makes no fit again.
"""

from __future__ import annotations

from collections.abc import Sequence

from forecast.backtest.candidates import Candidate, plan_candidates
from forecast.config.datasets import Dataset, Datasets, load_datasets
from forecast.config.models import Tuning, load_evaluation, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.reading import PlainValue
from forecast.system import files
from forecast.system.code_closure import PROJECT, code_digest

TEMPLATES = "forecast/report/templates"
UNREAD_FIELDS = {"title", "licence", "grid"}
"""Fields of a dataset on which the rows of fetch and prepare do not depend; nor do they on units of
columns.
"""
BUDGET_FIELDS = {
    "tune": {"n_trials", "trial_steps", "evaluate_every", "base_seed"},
    "train": {"final_steps", "evaluate_every", "seeds"},
    "compare": {"n_trials", "trial_steps", "final_steps", "seeds"},
}
"""The fields of configs/tuning.yaml that each stage reads."""
StageContent = dict[str, PlainValue]
"""The content of one file: settings by name, as JSON."""


def stage_settings(paths: ProjectPaths) -> dict[str, StageContent]:
    """The content of each file by its relative name: `<dataset>/<stage>.json` for every dataset
    that runs, and `report.json`. `InputError` for a configuration that cannot be read.
    """
    datasets = load_datasets(paths.configs)
    settings_by_file = {"report.json": _report_settings(datasets)}
    for name in datasets.run:
        for stage, content in _dataset_settings(paths, datasets, name).items():
            settings_by_file[f"{name}/{stage}.json"] = content
    return settings_by_file


def _dataset_settings(
    paths: ProjectPaths, datasets: Datasets, name: str
) -> dict[str, StageContent]:
    """The settings of one dataset by stage. Stages `fetch` and `prepare` also depend on the
    datasets from which columns are joined; `compare` depends on no candidate.
    """
    entry = datasets.datasets[name]
    tuning = load_tuning(paths.configs)
    models = load_models(paths.configs, entry.grid)
    has_vintages = bool(entry.vintage_columns)
    grid, _ = plan_candidates(models, season_length=entry.season_length, vintages=has_vintages)
    tuned = [candidate for candidate in grid if candidate.spec.search_space()]
    sources: StageContent = {name: _fields_read_by_fetch(entry)}
    for column in entry.columns:
        if column.joined and column.joined.dataset:
            looked_up = column.joined.dataset
            sources[looked_up] = _fields_read_by_fetch(datasets.datasets[looked_up])
    rules = {
        rule: options.model_dump(mode="json") for rule, options in models.combinations().items()
    }
    evaluation = load_evaluation(paths.configs).model_dump(mode="json")
    return {
        "fetch": {"datasets": sources, "code": _code_digest("fetch")},
        "prepare": {"datasets": sources, "code": _code_digest("prepare")},
        "tune": _stage_content("tune", entry, tuning, tuned),
        "train": {**_stage_content("train", entry, tuning, grid), "combinations": rules},
        "compare": {**_stage_content("compare", entry, tuning, []), "evaluation": evaluation},
    }


def _fields_read_by_fetch(entry: Dataset) -> StageContent:
    """The fields of the entry on which the rows of fetch and prepare depend."""
    content = entry.model_dump(mode="json", exclude=UNREAD_FIELDS)
    for column in (*content["target"], *content["past_exogenous"], *content["future_exogenous"]):
        del column["unit"]
    return content


def _stage_content(
    stage: str, entry: Dataset, tuning: Tuning, candidates: list[Candidate]
) -> StageContent:
    """The settings that tuning, training and the comparison have in common; `candidates` is empty
    for the comparison, which compares whatever results there are.
    """
    content: StageContent = {}
    for candidate in candidates:
        spec = candidate.spec.model_dump(mode="json")
        content[candidate.name] = {"spec": spec, "skip": candidate.skip}
    return {
        "task": entry.task.model_dump(mode="json"),
        "budget": tuning.model_dump(mode="json", include=BUDGET_FIELDS[stage]),
        "candidates": content,
        "code": _code_digest(stage, candidates),
    }


def _report_settings(datasets: Datasets) -> StageContent:
    """The settings of stage `report`: whole entries, since it shows all of them."""
    entries = {name: datasets.datasets[name].model_dump(mode="json") for name in datasets.run}
    templates = {path.name: files.sha256(path) for path in sorted((PROJECT / TEMPLATES).glob("*"))}
    return {
        "run": list(datasets.run),
        "datasets": entries,
        "code": _code_digest("report"),
        "templates": templates,
    }


def _code_digest(stage: str, candidates: Sequence[Candidate] = ()) -> str:
    """The digest of the code that a stage runs. Of families, sources, heads and cells, which are
    found by name, it counts only those of `candidates`.

    Without candidates it counts all sources, heads and cells, but no family. Stage `compare` need
    not know families: stage `train` stores their forecasts, so an edit of one that changes a result
    makes `compare` stale by data/trained.
    """
    modules: set[str] = set()
    for candidate in candidates:
        modules.update(candidate.spec.modules())
    return code_digest([f"pipelines.{stage}", *sorted(modules)], found_by_name=not candidates)
