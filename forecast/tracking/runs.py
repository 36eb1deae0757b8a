"""What a run shows: a record as parameters, metrics, tags and a note. Pure; nothing here knows MLflow.

Names are those of the record and the leaderboard, one word for one thing. MLflow draws a chart per metric, in
sections by what stands before the `/`, sorted by name: test errors come first, learning curves after them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forecast.data.results import members_in_words
from forecast.tracking.records import Record

DIAGNOSTICS = ("spectral_radius", "lyapunov", "memory", "saturated")
LOOP = ("reach", "exponent")
RESIDUALS = ("p", "p_robust", "statistic")
SAFE_LOOPS = ("stable", "marginal")
INTERVALS = ("coverage", "width", "winkler")
COSTS = ("cpu_seconds", "wall_seconds", "tuning_cpu_seconds")
DIGEST_LENGTH = 12
LIMIT = 500
"""Characters of a parameter or tag; MLflow refuses a run over one that is much longer."""


UNNAMEABLE = re.compile(r"[^\w.\- /]")
"""Characters that MLflow takes in no metric's name."""


class Point(NamedTuple):
    """One value of a metric; `step` is a horizon step, a gradient step, or 0."""

    name: str
    value: Any
    step: int = 0


def parameters(params: Mapping[str, Any], tuned: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Model parameters with the tuned values in their place; nested ones as `outer.inner`."""
    return dict(_flat({**params, **(tuned or {})}))


def scores(record: Record) -> list[Point]:
    """Test errors of what serves, by horizon step, their spread over seeds; size and cost."""
    main = record.main_row
    from forecast.comparison import metrics  # with it comes pandas, which `status` does without

    by_step = [metric.name for metric in metrics.METRICS if metric.by_step]
    points = [Point(f"test/{metric.name}", main.get(metric.name)) for metric in metrics.METRICS]
    for row in record.by_step:
        points += [Point(f"test_by_step/{name}", row.get(name), int(row["step"])) for name in by_step]
    points += [Point(f"test_std/{name}", record.rows.get("std", {}).get(name)) for name in by_step]
    points.append(Point("validation/mase", main.get("validation_mase")))
    points.append(Point("n_origins", main.get("n_origins")))
    return finite(points + intervals(record) + distributions(record) + ledger(record) + costs(record))


def intervals(record: Record) -> list[Point]:
    """Coverage, width and interval score of both methods by level, all steps pooled, mean over the series."""
    found: dict[str, list[float]] = {}
    for row in record.intervals:
        percent = f"{100 * float(row['level']):g}"
        for name in INTERVALS:
            value = _as_float(row[name])
            if value is not None:
                found.setdefault(f"test_intervals/{row['method']}_{percent}_{name}", []).append(value)
    return [Point(name, sum(values) / len(values)) for name, values in found.items()]


def distributions(record: Record) -> list[Point]:
    """How good the quantiles, densities and probabilities of a head are; step 0 is the whole horizon.

    `distribution/crps`, `distribution/pinball_0.9`, ...; with several series the series' name stands before them, as
    their units differ.
    """
    several = len({row["series"] for row in record.distributions}) > 1
    points = []
    for row in record.distributions:
        series = f"{UNNAMEABLE.sub('_', row['series'])}/" if several else ""
        level = f"_{row['level']}" if row["level"] else ""
        points.append(Point(f"distribution/{series}{row['metric']}{level}", row["value"], int(row["step"])))
    return points


def ledger(record: Record) -> list[Point]:
    """What the candidate was given: trials, gradient steps, seeds, weights, rows."""
    content = record.content
    names = ("n_params", "rows_seen", "gradient_steps", "gradient_steps_taken", "tuning_gradient_steps",
             "targets_learnt_from")  # fmt: skip
    counts = {"n_trials": len(content.get("trials") or ()), "n_seeds": len(content.get("seeds") or ())}
    return [Point(name, content.get(name)) for name in names] + [Point(name, n) for name, n in counts.items()]


def diagnostics(record: Record) -> list[Point]:
    """What goes on inside the first seed's network, and what its one-step residuals still contain.

    The step of `diagnostics_by_lag/...` is the lag in rows, of `diagnostics_free_run` the step of the closed loop, of
    `residuals/autocorrelation` the lag in residuals (of the first series, as are the numbers).
    """
    found = record.content.get("diagnostics") or {}
    numbers, arrays = found.get("numbers", {}), found.get("arrays", {})
    points = [Point(f"diagnostics/{name}", numbers.get(name)) for name in DIAGNOSTICS]
    points += [Point(f"diagnostics/loop_{name}", (numbers.get("loop") or {}).get(name)) for name in LOOP]
    lags, gradient = arrays.get("lags", ()), arrays.get("gradient", ())
    points += [Point("diagnostics_by_lag/gradient", v, lag) for lag, v in zip(lags, gradient, strict=True)]
    for layer, decay in arrays.get("decay", {}).items():
        points += [Point(f"diagnostics_by_lag/decay_{layer}", decay[lag], lag) for lag in lags if lag < len(decay)]
    points += [Point("diagnostics_free_run", v, step + 1) for step, v in enumerate(arrays.get("free_run", ()))]
    return finite(points + residuals(record))


def residuals(record: Record) -> list[Point]:
    left = record.residuals[0] if record.residuals else {}
    points = [Point(f"residuals/ljung_box_{name}", left.get(name)) for name in RESIDUALS]
    points.append(Point("residuals/mean", left.get("mean")))
    correlations = left.get("autocorrelation", ())
    return points + [Point("residuals/autocorrelation", v, lag + 1) for lag, v in enumerate(correlations)]


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
    shown["loop"] = loop(content)
    shown["data_digest"] = str(content.get("digests", {}).get("data", ""))[:DIGEST_LENGTH]
    return {name: str(value)[:LIMIT] for name, value in shown.items() if value}


def loop(content: Mapping[str, Any]) -> str:
    """How a recursive network behaves on its own forecasts: stable, marginal, sensitive, drifting or unstable."""
    numbers = (content.get("diagnostics") or {}).get("numbers", {})
    return str((numbers.get("loop") or {}).get("verdict", ""))


def verdict_tags(record: Record) -> dict[str, str]:
    """Tags that depend on the other candidates: refreshed in place."""
    words = {f"against_{test['family']}": str(test["word"]) for test in record.tests}
    return {"chosen": str(record.chosen).lower(), **words, "mlflow.note.content": note(record)}


def note(record: Record) -> str:
    """The run's page in words: what the model is, and what the comparison says."""
    content = record.content
    lines = [content.get("description", ""), f"`{content['equation']}`" if content.get("equation") else ""]
    lines += [f"Source: {content['source']}" if content.get("source") else ""]
    lines += [f"Members: {members_in_words(content)}" if content.get("members") else ""]
    if record.failed:
        lines.insert(0, f"**Failed:** {content.get('reason', '')}")
    if record.chosen:
        lines.insert(0, "**Chosen on validation in its ranking.**")
    if loop(content) and loop(content) not in SAFE_LOOPS:
        lines.append(f"**Closed loop {loop(content)}**: see `diagnostics_free_run`.")
    lines += [_sentence(test) for test in record.tests]
    return "\n\n".join(line for line in lines if line)


def _sentence(test: Mapping[str, Any]) -> str:
    family = test["family"]
    role = {"naive": "the naive forecast", "skip": "its own skip", "best": "the best"}.get(family, family)
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
