"""What MLflow's own page shows first: saved views with the columns that matter, kept as tags of the experiment.

MLflow hides every metric column until a user picks it. Its page stores such a choice as a tag; the same tag written
here appears under `Views`, and `page` is the address that opens it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

GUIDE = (
    "Tick runs and press Compare. `test/...` is the mean over the seeds, `test_by_step/...` has the horizon step on "
    "its x axis, `chosen` marks the best on validation in each ranking. Under Views: Leaderboard, Tuning trials, "
    "Diagnostics."
)
LEADERBOARD, TRIALS, DIAGNOSTICS = "leaderboard", "trials", "diagnostics"


def experiment_tags(sentences: Sequence[str], created: int) -> dict[str, str]:
    """The verdict as the experiment's description, its kind, and its saved views; `created` in ms since 1970."""
    return {
        "mlflow.note.content": "\n\n".join([*sentences, GUIDE]),
        "mlflow.experimentKind": "custom_model_development",  # otherwise the page opens as one for chat agents
        f"mlflow.sharedViewState.{LEADERBOARD}": _view("Leaderboard", created, _leaderboard()),
        f"mlflow.sharedViewState.{TRIALS}": _view("Tuning trials", created, _trials()),
        f"mlflow.sharedViewState.{DIAGNOSTICS}": _view("Diagnostics", created, _diagnostics()),
    }


def page(experiment_id: str) -> str:
    """The part of the address after the server's: the leaderboard of one dataset."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={LEADERBOARD}&workflowType=machine_learning"


def _leaderboard() -> dict[str, Any]:
    names = (
        "test/mae",
        "test/skill",
        "test/mase",
        "validation/mase",
        "test_ensemble/mae",
        "n_params",
        "cpu_seconds",
    )
    columns = ["tags.`ranking`", "tags.`chosen`", *(f"metrics.`{name}`" for name in names)]
    columns += ["tags.`against_naive`", "tags.`against_skip`", "tags.`against_best`"]
    return _state("tags.current = 'true' AND tags.kind != 'trial'", "metrics.`test/mae`", columns)


def _trials() -> dict[str, Any]:
    columns = ["tags.`model`", "tags.`ranking`", "tags.`best_trial`", "metrics.`trial/value`"]
    columns += ["params.`units`", "params.`layers`", "params.`learning_rate`", "params.`dropout`"]
    return _state("tags.current = 'true' AND tags.kind = 'trial'", "metrics.`trial/value`", columns)


def _diagnostics() -> dict[str, Any]:
    names = ("spectral_radius", "lyapunov", "memory", "saturated", "loop_reach", "loop_exponent")
    columns = ["tags.`ranking`", "tags.`loop`", *(f"metrics.`diagnostics/{name}`" for name in names)]
    columns += ["metrics.`residuals/ljung_box_p_robust`", "metrics.`test/mae`"]
    shown = "tags.current = 'true' AND tags.kind = 'network'"
    return _state(shown, "metrics.`diagnostics/spectral_radius`", columns)


def _state(condition: str, order_by: str, columns: list[str]) -> dict[str, Any]:
    return {
        "searchFilter": condition,
        "orderByKey": order_by,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
    }


def _view(name: str, created: int, state: dict[str, Any]) -> str:
    return json.dumps({"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(state)})
