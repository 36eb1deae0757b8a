"""What operation writes down between two commands: typed records, each with one file format.

    ChampionCard    champion.json of a version: what is known about it
    HistoryEvent    a line of history.jsonl: what happened to a version
    LiveScores      .forecast/issued/<dataset>.json: how its forecasts met their actuals
    Decision        .forecast/retrain/<dataset>/decisions/<key>.json: what a retraining decided;
                    not-due.json beside the folder: the last one that had nothing to decide
    JobRun          .forecast/schedule/<job>.json: the last run of a scheduled job
    Heartbeat       .forecast/schedule/heartbeat.json: that the scheduler runs, and what comes next

They need neither pandas nor SciPy, so that `forecast status` reads them in milliseconds. Times are
ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Literal, TypeVar

from forecast.config.operation import HookEvent
from forecast.config.paths import ProjectPaths
from forecast.data.records import Number, Record
from forecast.system.errors import DataError

Outcome = Literal["better", "equivalent", "renewed", "first", "kept"]
"""What a gate decides; all but `kept` promote."""
R = TypeVar("R", bound=Record)


def read_if_valid(kind: type[R], path: Path) -> R | None:
    """The record in `path`; None where the file is absent or holds something else."""
    try:
        return kind.read(path)
    except (FileNotFoundError, DataError):
        return None


class ChampionCard(Record):
    """What is known about one version of a dataset's model."""

    dataset: str
    candidate: str
    model: str
    training_cutoff: str
    """The last row that choices and weights saw, not what a refit on all data added."""
    last_target_used: str
    """The last actual of fit, tuning or calibration."""
    as_of: str
    """When the data were known that it was made from."""
    data_sha256: str
    config_hash: str
    git_revision: str
    created_at: str
    metrics: Mapping[str, float] = {}
    """Test scores of the ensemble, by name as in the leaderboard."""
    expected: Mapping[str, list[Number]] = {}
    """Series to the test MAE by step (H,): what live errors are set against."""
    naive: Mapping[str, list[Number]] = {}
    """The same of repeating the last value."""
    refit_of: int | None = None
    """The version whose recipe was fitted again on all data, unscored."""

    def age(self, newest: datetime, *, counts_rows: bool) -> timedelta:
        """How old the version is when the newest row was known at `newest` (UTC, without zone): by
        its data, or by when it was made where rows have no dates.
        """
        began = self.created_at if counts_rows else self.as_of
        return newest - datetime.fromisoformat(began)

    def registry_tags(self) -> dict[str, str]:
        """Tags for the model registry: every field that is one value, and the test scores."""
        values = self.model_dump(exclude={"metrics", "expected", "naive"}, exclude_none=True)
        tags = {name: str(value) for name, value in values.items()}
        return tags | {f"test_{name}": f"{value:.6g}" for name, value in self.metrics.items()}


class RetrainingFailure(Record):
    """What hooks are told of a retraining that ended with an error."""

    dataset: str
    exit_code: int
    reason: str


class HistoryEvent(Record):
    """What became of one version."""

    at: str
    event: str
    version: int | None = None
    replaced: int | None = None
    """The version that was champion before, of a promotion or a rollback."""
    reason: str = ""
    decision: str = ""
    """The key of the decision, of a gate."""
    drift: str = ""
    """The columns that drifted, of a gate."""


class LiveAccuracy(Record):
    """One version's live accuracy over the actuals known so far."""

    version: int
    issues: int
    scored: int
    """Issues with known actuals."""
    error: Number
    """Mean over series of the MAE over what was expected at the same steps (1: as on test)."""
    skill: Number
    """1 - MAE over that of repeating the last value, of all series together."""
    coverage: Mapping[str, float] = {}
    """Level in percent to the share of actuals inside the interval."""


class LiveScores(Record):
    """The live accuracy of a dataset's versions, oldest first, as last computed."""

    as_of: str = ""
    """When the actuals were known."""
    live: tuple[LiveAccuracy, ...] = ()
    issues_sha256: str = ""
    """Of the file of issued forecasts that they were computed from."""


def read_live_scores(root: Path, dataset: str) -> LiveScores:
    """The scores as last written; empty when there are none."""
    path = ProjectPaths.of(root).live_forecasts(dataset).with_suffix(".json")
    return read_if_valid(LiveScores, path) or LiveScores()


class Shift(Record):
    """What was measured of one column of one series, or of the champion's error."""

    what: str
    psi: Number = None
    """Population stability index."""
    ks_p: Number = None
    """The p-value of the Kolmogorov-Smirnov test, which is asked where the index is high."""
    live_error: Number = None
    """The error over what was expected, as `live_accuracy` has it."""
    drifted: bool = False


class EquivalenceNumbers(Record):
    """What the equivalence test says of challenger and champion."""

    word: str
    upper: Number
    """Upper limit of the challenger's relative loss."""
    note: str = ""


class SequentialTest(Record):
    """Where the evidence stands: `z` (above zero: the challenger is ahead) against `boundary`."""

    z: float
    boundary: Number = None
    n: int | None = None
    """Origins counted."""
    mean_difference: Number = None
    """Mean of champion - challenger."""
    alpha: Number = None
    """The share of the gate's alpha that this pair has."""
    note: str = ""
    """Why there is no test, empty where there is one."""

    @property
    def is_better(self) -> bool:
        """Whether the challenger is shown to be better."""
        return self.boundary is not None and self.z >= self.boundary


class GateNumbers(Record):
    """Everything a gate decided on; a field is None where the gate came to its decision before.

    Losses are means over the fresh origins, skills 1 - loss / naive's loss there. `n_fresh` origins
    were there, `least_fresh` are needed; `ageing`: why the champion is stale or drifting.
    """

    n_fresh: int | None = None
    least_fresh: int | None = None
    ageing: str | None = None
    naive_loss: float | None = None
    challenger_loss: float | None = None
    challenger_skill: float | None = None
    champion_loss: float | None = None
    champion_skill: float | None = None
    relative_difference: float | None = None
    """The challenger's loss over the champion's, less 1."""
    evidence: SequentialTest | None = None
    pair_number: int | None = None
    """As in `PairEvidence`."""
    equivalence: EquivalenceNumbers | None = None
    age_days: float | None = None
    """Of the champion."""
    new_steps: int | None = None
    """Time steps since the last gate."""
    refitted_champion: int | None = None
    """1 where the champion's recipe, fitted again, stood in for it; else 0."""


class Decision(Record):
    """What one retraining decided, and what it decided on.

    `data_end`: the newest row; `config_hash`, `revision`: the configuration and the commit that the
    challenger follows; `candidate`: its folder's name, empty before one is made; `note`: what went
    wrong without changing the decision.
    """

    key: str
    """Digest of what made it: the same again is nothing to do."""
    dataset: str
    as_of: str
    data_sha256: str
    data_end: str
    config_hash: str
    revision: str
    at: str
    word: Outcome | Literal["not due"]
    reason: str
    champion: int | None = None
    """The version that the challenger was compared with."""
    served_version: int | None = None
    """The version that had the alias then: another one where a damaged champion was replaced."""
    candidate: str = ""
    version: int | None = None
    """The version that was promoted."""
    refit_version: int | None = None
    """The version that was fitted again on all data and promoted."""
    numbers: GateNumbers = GateNumbers()
    drift: tuple[Shift, ...] = ()
    due: tuple[str, ...] = ()
    """Why a challenger was made."""
    unused_edits: tuple[str, ...] = ()
    """Paths of the checkout with edits that were not committed."""
    note: str = ""

    @property
    def drifted(self) -> list[str]:
        """What has drifted."""
        return [shift.what for shift in self.drift if shift.drifted]

    @property
    def promotes(self) -> bool:
        """Whether the challenger takes the champion's place."""
        return self.word not in ("kept", "not due")

    @property
    def event(self) -> HookEvent:
        """What hooks are told of it."""
        if self.promotes:
            return "promoted"
        return "kept" if self.word == "kept" else "not_due"


def read_decisions(root: Path, dataset: str) -> list[Decision]:
    """Every finished decision, oldest first; one that cannot be read is left out."""
    folder = ProjectPaths.of(root).retraining(dataset) / "decisions"
    files_read = [read_if_valid(Decision, path) for path in folder.glob("*.json")]
    decisions = [decision for decision in files_read if decision is not None]
    return sorted(decisions, key=attrgetter("data_end", "at"))


def not_due_file(root: Path, dataset: str) -> Path:
    """Of the last retraining that was not due."""
    return ProjectPaths.of(root).retraining(dataset) / "not-due.json"


class JobRun(Record):
    """One run of a scheduled job; `ended` and `code` are None while it runs."""

    started: str
    ended: str | None = None
    code: int | None = None
    """Its exit code."""


class Heartbeat(Record):
    """A sign of life of the scheduler, written every few seconds."""

    pid: int
    at: str
    state: Literal["running", "ended"]
    running: tuple[str, ...] = ()
    """The jobs that run now."""
    next: Mapping[str, str] = {}
    """Job to the time of its next run."""
