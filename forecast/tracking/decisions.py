"""What retrainings decided: one experiment per dataset, one run per decision with its numbers, reason and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forecast.system import files
from forecast.tracking import store
from forecast.tracking.place import Place

KEY = "decision"
LIMIT = 5000
"""Characters of a tag that every store takes."""


def log_decision(place: Place, dataset: str, decision: Mapping[str, Any], *, now: float) -> str:
    """One finished run in the experiment `<dataset> retraining`; its id. The same `key` again is the same run.

    `now` in seconds since 1970. Raises as `store.opened` does.
    """
    from mlflow.entities import Metric, RunTag

    start = int(1000 * now)
    with store.opened(place) as client:
        experiment = store.experiment(client, f"{dataset} retraining", place).experiment_id
        known = client.search_runs([experiment], f"tags.{KEY} = '{decision['key']}'", max_results=1)
        if known and known[0].info.status == "FINISHED":
            return str(known[0].info.run_id)
        name = f"{decision['as_of'][:10]} {decision['word']}"
        run = known[0] if known else client.create_run(experiment, start, {KEY: decision["key"]}, run_name=name)
        run_id = run.info.run_id
        plain = {k: str(v)[:LIMIT] for k, v in decision.items() if isinstance(v, str | int | float) and k != "key"}
        metrics = [Metric(name, value, start, 0) for name, value in numbers(decision.get("numbers", {}))]
        client.log_batch(run_id, metrics, tags=[RunTag(name, value) for name, value in plain.items()])
        with files.scratch_folder() as folder:
            files.write_json(folder / "decision.json", decision)
            client.log_artifacts(run_id, str(folder))
        client.set_terminated(run_id, "FINISHED", start)
        return str(run_id)


def numbers(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested content, named by its path."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
