"""What a run shows: a record as parameters, metrics, tags and a note. Pure; nothing here knows MLflow.

Names are those of the record and the leaderboard, one word for one thing. MLflow draws a chart per metric, in
sections by what stands before the `/`, sorted by name: test errors come first, learning curves after them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forecast.tracking.records import Record

SCORES = ("mae", "rmse", "mase", "rmsse", "smape", "direction", "direction_base", "skill")
SPREAD = ("mae", "rmse", "mase", "skill")
COSTS = ("cpu_seconds", "wall_seconds", "tuning_cpu_seconds")
DIGEST_LENGTH = 12
LIMIT = 500
"""Characters of a parameter or tag; MLflow refuses a run over one that is much longer."""


class Point(NamedTuple):
    """One value of a metric; `step` is a horizon step, a gradient step, or 0."""

    name: str
    value: Any
    step: int = 0


def parameters(params: Mapping[str, Any], tuned: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Model parameters with the tuned values in their place; nested ones as `outer.inner`."""
    return dict(_flat({**params, **(tuned or {})}))


def scores(record: Record) -> list[Point]:
    """Test errors (mean over seeds), by horizon step, of the seeds' ensemble, their spread; size and cost."""
    main = record.main_row
    points = [Point(f"test/{name}", main.get(name)) for name in SCORES]
    for row in record.by_step:
        points += [Point(f"test_by_step/{name}", row.get(name), int(row["step"])) for name in SPREAD]
    for seed in ("ensemble", "std"):
        points += [Point(f"test_{seed}/{name}", record.rows.get(seed, {}).get(name)) for name in SPREAD]
    points.append(Point("validation/mase", main.get("validation_mase")))
    points.append(Point("n_origins", main.get("n_origins")))
    points += [Point(name, record.content.get(name)) for name in ("n_params", "rows_seen")]
    return finite(points + costs(record))


def costs(record: Record) -> list[Point]:
    return [Point(name, record.cost[name]) for name in COSTS if name in record.cost]


def curves(content: Mapping[str, Any]) -> list[Point]:
    """The learning curves of the final trainings: loss over gradient steps, per seed."""
    points = []
    for seed in content.get("seeds", ()):
        for step, train, validation in seed.get("curve") or ():
            points.append(Point(f"train_loss/seed_{seed['seed']}", train, int(step)))
            points.append(Point(f"validation_loss/seed_{seed['seed']}", validation, int(step)))
    return finite(points)


def trial_points(trial: Mapping[str, Any]) -> list[Point]:
    """The trial's validation loss over its gradient steps, and the value Optuna got."""
    points = [Point("trial/value", trial.get("value"))]
    for number, row in enumerate(trial.get("curve") or ()):
        step, loss = (row[0], row[-1]) if isinstance(row, list | tuple) else (number + 1, row)
        points.append(Point("trial/validation_loss", loss, int(step)))
    return finite(points)


def finite(points: list[Point]) -> list[Point]:
    """Without what is missing, not a number or infinite; a chart can show none of it."""
    read = [(point, _as_float(point.value)) for point in points]
    return [point._replace(value=value) for point, value in read if value is not None]


def tags(record: Record) -> dict[str, str]:
    """What to filter and group by; see `verdict_tags` for those that may change later."""
    content = record.content
    shown = {name: content.get(name) for name in ("model", "family", "kind", "ranking", "status", "reason")}
    shown["skip"] = content.get("skip") or "none"
    shown["tuned"] = ", ".join(sorted(content.get("tuned", {})))
    shown["gradient_steps"] = content.get("gradient_steps")
    seeds = content.get("seeds", ())
    shown["seeds"] = ", ".join(str(seed["seed"]) for seed in seeds)
    failed = (f"seed {seed['seed']}: {seed.get('reason', '')}" for seed in seeds if seed.get("status") != "ok")
    shown["failed_seeds"] = "; ".join(failed)
    shown["data_digest"] = str(content.get("digests", {}).get("data", ""))[:DIGEST_LENGTH]
    return {name: str(value)[:LIMIT] for name, value in shown.items() if value}


def verdict_tags(record: Record) -> dict[str, str]:
    """Tags that depend on the other candidates: refreshed in place."""
    words = {f"against_{test['family']}": str(test["word"]) for test in record.tests}
    return {"chosen": str(record.chosen).lower(), **words, "mlflow.note.content": note(record)}


def note(record: Record) -> str:
    """The run's page in words: what the model is, and what the comparison says."""
    content = record.content
    lines = [content.get("description", ""), f"`{content['equation']}`" if content.get("equation") else ""]
    lines += [f"Source: {content['source']}" if content.get("source") else ""]
    if record.failed:
        lines.insert(0, f"**Failed:** {content.get('reason', '')}")
    if record.chosen:
        lines.insert(0, "**Chosen on validation in its ranking.**")
    lines += [_sentence(test) for test in record.tests]
    return "\n\n".join(line for line in lines if line)


def _sentence(test: Mapping[str, Any]) -> str:
    role = {"naive": "the naive forecast", "skip": "its own skip", "best": "the best"}.get(
        test["family"], test["family"]
    )
    relative, p = _as_float(test.get("relative_difference")), _as_float(test.get("p_holm"))
    change = "" if relative is None else f", error {relative:+.1%}"
    evidence = "" if p is None else f", p = {p:.2g} (Holm)"
    return f"Against {role} ({test['against']}): **{test['word']}**{change}{evidence}."


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None and value != {}:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"{prefix}{name}", text[:LIMIT]


def _as_float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
