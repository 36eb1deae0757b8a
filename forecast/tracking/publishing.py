"""Publishes the records of a project to MLflow (`sync`): one run per candidate.

A record is recognised by its digest, so publishing twice changes nothing. Missing runs are written.
Runs without a record are set aside, which means tagged current=false and renamed `..., earlier
(...)`; they are never deleted. Runs that a killed publisher left RUNNING are closed. In a shared
store runs of other projects (`stores.PROJECT`) are neither found nor changed.

A saved view of the experiments' pages is written too, since MLflow shows no metric column until a
user picks it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.system.addresses import public_address
from forecast.tracking import mlflow_client, runs
from forecast.tracking.database_file import former_folders
from forecast.tracking.runs import (
    CandidateRun,
    list_datasets,
    read_candidate_runs,
    verdict_sentences,
)
from forecast.tracking.stores import PROJECT, hold_store_lock, tracking_store
from forecast.tracking.writing import (
    CANDIDATE,
    CURRENT,
    PARENT,
    PUBLISHER,
    RECORD_DIGEST,
    TRIAL,
    Writer,
)

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass
class SyncResult:
    """What `sync` changed."""

    published: list[str] = field(default_factory=list)
    """The new runs, as `dataset: name`."""
    set_aside: list[str] = field(default_factory=list)
    """The names, without their dataset, of runs that are no longer current; they stay in MLflow."""
    unchanged: int = 0
    """How many records had a run already."""
    pages: dict[str, str] = field(default_factory=dict)
    """Dataset → the path of its leaderboard on the server."""

    def add(self, other: SyncResult) -> None:
        """Add the result for other datasets."""
        self.published += other.published
        self.set_aside += other.set_aside
        self.unchanged += other.unchanged
        self.pages.update(other.pages)


def sync(
    root: Path,
    uri: str = "",
    datasets: Sequence[str] | None = None,
    *,
    now: float,
    revision: str = "",
) -> SyncResult:
    """Publish the records below `root`, of all datasets or of `datasets`.

    Afterwards each candidate with a record has exactly one current run of this project; in a store
    that the project owns, all other runs are set aside. uri: the value of MLFLOW_TRACKING_URI. now:
    seconds since 1970. revision: the git commit. Raises `ForecastError` when the store cannot be
    written (what is published by then stays), `BusyError` while others publish for longer than
    `mlflow_client.TIMEOUT`.
    """
    store = tracking_store(root, uri)
    result = SyncResult()
    names = [name for name in list_datasets(root) if datasets is None or name in datasets]
    runs_by_dataset = {name: read_candidate_runs(root, name) for name in names}
    if not runs_by_dataset and not former_folders(store):
        return result
    what = f"Publishing to {public_address(store.uri)}"
    lock = hold_store_lock(store, "publishing", purpose=what, timeout=mlflow_client.TIMEOUT)
    with lock, mlflow_client.connect(store) as client:
        for name, candidate_runs in runs_by_dataset.items():
            experiment_id = mlflow_client.ensure_experiment(client, name, store).experiment_id
            writer = Writer(client, experiment_id, store, int(1000 * now), revision)
            target = _Experiment(writer, result)
            target.close_left_running()
            target.read_current()
            target.describe(verdict_sentences(root, name))
            result.pages[name] = leaderboard_page(experiment_id)
            for number, candidate_run in enumerate(candidate_runs):
                target.put(candidate_run, number)
            if store.owned:
                target.keep_only({candidate_run.candidate for candidate_run in candidate_runs})
    return result


@dataclass
class _Experiment:
    """Publishes the runs of one dataset."""

    writer: Writer
    result: SyncResult
    current: dict[str, list[Run]] = field(default_factory=dict)
    """Candidate → its runs that are tagged current; normally one."""

    def close_left_running(self) -> None:
        """Close the runs that a killed publisher left RUNNING; in a store that the project does not
        own, only those of this publisher.
        """
        store = self.writer.store
        for run in self._search("attributes.status = 'RUNNING'"):
            if store.owned or run.data.tags.get(PUBLISHER) == store.publisher:
                self._mark_trials(run, current=False)
                self.writer.mark_interrupted(run.info.run_id, run.info.run_name)

    def read_current(self) -> None:
        """Fill `current` from the store."""
        for run in self._search(f"tags.{CURRENT} = 'true' AND tags.kind != '{TRIAL}'"):
            self.current.setdefault(run.data.tags[CANDIDATE], []).append(run)

    def describe(self, sentences: Sequence[str]) -> None:
        """Write the experiment's description and saved view, unless another project, which has a
        dataset of this name too, has described it.
        """
        client = self.writer.client
        experiment = client.get_experiment(self.writer.experiment_id)
        store = self.writer.store
        describer = experiment.tags.get(PROJECT, store.owner)
        if not store.owned and describer not in (store.project, store.folder):
            return
        tags = experiment_tags(sentences, experiment.creation_time or 0)
        for name, value in {**tags, PROJECT: store.owner}.items():
            if experiment.tags.get(name) != value:
                client.set_experiment_tag(experiment.experiment_id, name, value)

    def put(self, candidate_run: CandidateRun, number: int) -> None:
        """Make the run of `candidate_run` the only current one of its candidate.

        A run with its digest is used again, also one that was set aside. number: the place of a new
        run in lists.
        """
        current = self.current.get(candidate_run.candidate, [])
        same = [run for run in current if run.data.tags.get(RECORD_DIGEST) == candidate_run.digest]
        same = same or self._search(f"tags.{RECORD_DIGEST} = '{candidate_run.digest}'")
        if same:
            self._refresh(same[0], candidate_run)
            self.result.unchanged += 1
        else:
            self.writer.write(candidate_run, number)
            self.result.published.append(f"{candidate_run.record.dataset}: {candidate_run.name}")
        for run in current:
            if not same or run.info.run_id != same[0].info.run_id:
                self._set_aside(run)

    def keep_only(self, candidates: set[str]) -> None:
        """Set aside the current runs of every other candidate."""
        for candidate, candidate_runs in self.current.items():
            if candidate not in candidates:
                for run in candidate_runs:
                    self._set_aside(run)

    def _refresh(self, run: Run, candidate_run: CandidateRun) -> None:
        """Update an existing run: make it current, and set its name and the tags that depend on
        other candidates.
        """
        run_id = run.info.run_id
        tags = run.data.tags
        new_tags = {**runs.verdict_tags(candidate_run), CURRENT: "true"}
        if tags.get(CURRENT) != "true":
            self._mark_trials(run, current=True)
        changed = {name: value for name, value in new_tags.items() if tags.get(name) != value}
        if changed:
            self.writer.tag(run_id, changed)
        for name in tags:
            if name.startswith("against_") and name not in new_tags:
                self.writer.client.delete_tag(run_id, name)
        if run.info.run_name != candidate_run.name:
            self.writer.client.update_run(run_id, name=candidate_run.name)

    def _set_aside(self, run: Run) -> None:
        """Tag a run and its trials as not current, and rename it."""
        self._mark_trials(run, current=False)
        name = run.info.run_name.partition(", earlier")[0]
        started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
        self.writer.tag(run.info.run_id, {CURRENT: "false", "chosen": "false"})
        self.writer.client.update_run(
            run.info.run_id, name=f"{name}, earlier ({started:%Y-%m-%d %H:%M} UTC)"
        )
        self.result.set_aside.append(name)

    def _mark_trials(self, run: Run, *, current: bool) -> None:
        for trial in self._search(f"tags.{PARENT} = '{run.info.run_id}'"):
            self.writer.tag(trial.info.run_id, {CURRENT: str(current).lower()})

    def _search(self, condition: str) -> list[Run]:
        """All runs of this project in the experiment that meet `condition`."""
        matching: list[Run] = []
        token = None
        while True:
            page = self.writer.client.search_runs(
                [self.writer.experiment_id], condition, max_results=1000, page_token=token
            )
            matching += filter(self.writer.store.owns_run, page)
            token = page.token
            if not token:
                return matching


# The saved view: MLflow hides every metric column until a user picks it, and stores the choice as a
# tag of the experiment. The same tag, written here, appears under `Views`.

GUIDE = (
    "Tick runs and press Compare. `test/...` is of the mean forecast of the seeds,"
    " `test_by_step/...` has the horizon step on its x axis, `chosen` marks the selected candidate"
    " of each ranking. Under Views: Leaderboard; `tags.kind = 'trial'` finds the tuning trials."
)
LEADERBOARD = "leaderboard"
"""The key of the saved view."""
SORTED_BY = "metrics.`test/mase`"  # with several series there is no mean `test/mae`
SHOWN_COLUMNS = [
    "tags.`ranking`",
    "tags.`chosen`",
    SORTED_BY,
    "metrics.`test/skill`",
    "metrics.`test/mae`",
    "metrics.`validation/mase`",
    "metrics.`test_std/mase`",
    "metrics.`n_params`",
    "metrics.`cpu_seconds`",
    "tags.`against_bar`",
    "tags.`against_skip`",
    "tags.`against_best`",
]


def experiment_tags(sentences: Sequence[str], created: int) -> dict[str, str]:
    """The tags of an experiment: its description, kind and saved view.

    created: milliseconds since 1970.
    """
    return {
        "mlflow.note.content": "\n\n".join([*sentences, GUIDE]),
        # without it the page opens as one for chat agents
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{LEADERBOARD}": _view_json(created),
    }


def leaderboard_page(experiment_id: str) -> str:
    """The path of an experiment's leaderboard on the server."""
    return (
        f"/#/experiments/{experiment_id}/runs?viewStateShareKey={LEADERBOARD}"
        "&workflowType=machine_learning"
    )


def _view_json(created: int) -> str:
    """The saved view as MLflow's page stores it; created: milliseconds since 1970."""
    state = json.dumps(
        {
            "searchFilter": "tags.current = 'true' AND tags.kind != 'trial'",
            "orderByKey": SORTED_BY,
            "orderByAsc": True,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": SHOWN_COLUMNS,
            "runsHiddenMode": "FIRST_20_RUNS",
        }
    )
    view = {"name": "Leaderboard", "createdAt": created, "updatedAt": created, "state": state}
    return json.dumps(view)
