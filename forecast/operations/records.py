"""The typed records that commands in operation write, each with one file format.

    ChampionCard    champion.json of a version: where it comes from, and its scores
    HistoryEvent    a line of history.jsonl: what happened to a version
    LiveScores      .forecast/issued/<dataset>.json: the accuracy of issued forecasts
    Decision        .forecast/retrain/<dataset>/decisions/<key>.json: what a retraining decided;
                    not-due.json beside the folder: the last retraining that was not due
    JobRun          .forecast/schedule/<job>.json: the last run of a scheduled job
    Heartbeat       .forecast/schedule/heartbeat.json: sign of life of the scheduler

The module needs neither pandas nor SciPy, so that `forecast status` reads records in milliseconds.
Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from forecast.config.operation import HookEvent
from forecast.config.paths import ProjectPaths
from forecast.data.records import Number, Record
from forecast.system.errors import DataError

Outcome = Literal["better", "equivalent", "renewed", "first", "kept"]
"""What a gate decides; all but `kept` promote the challenger."""
R = TypeVar("R", bound=Record)


def read_if_valid(kind: type[R], path: Path) -> R | None:
    """The record in `path`; None where the file is missing or holds something else."""
    try:
        return kind.read(path)
    except (FileNotFoundError, DataError):
        return None


class ChampionCard(Record):
    """Where one version of a dataset's model comes from, and its test scores."""

    remedy: ClassVar[str] = (
        "Delete the folder it lies in: `forecast doctor --repair` takes a champion from the"
        " registry again, and `forecast retrain` decides again."
    )

    dataset: str
    candidate: str
    model: str
    training_cutoff: str
    """The last row of training and validation; in a refit on all data the last row of all."""
    last_target_used: str
    """The last target used in fitting, tuning or calibration."""
    as_of: str
    """The moment up to which its data were known."""
    data_sha256: str
    config_hash: str
    git_revision: str
    created_at: str
    metrics: Mapping[str, float] = {}
    """Test scores of the ensemble, by name as in the leaderboard."""
    expected: Mapping[str, list[Number]] = {}
    """Series → test MAE by step (H,), with which live errors are compared."""
    naive: Mapping[str, list[Number]] = {}
    """Series → test MAE by step (H,) of repeating the last value."""
    refit_of: int | None = None
    """For a refit on all data, which has no score: the version whose recipe was fitted again."""

    def age(self, newest: datetime, *, counts_rows: bool) -> timedelta:
        """How old the version's data are at the moment `newest` (UTC, without time zone).

        counts_rows: rows have no dates; then the time since the version was made.
        """
        began = self.created_at if counts_rows else self.as_of
        return newest - datetime.fromisoformat(began)

    def registry_tags(self) -> dict[str, str]:
        """Tags for the model registry: every field with a single value, and the test scores."""
        values = self.model_dump(exclude={"metrics", "expected", "naive"}, exclude_none=True)
        tags = {name: str(value) for name, value in values.items()}
        return tags | {f"test_{name}": f"{value:.6g}" for name, value in self.metrics.items()}


class RetrainingFailure(Record):
    """A retraining that ended with an error, as hooks get it."""

    dataset: str
    exit_code: int
    reason: str


class HistoryEvent(Record):
    """What happened to one version."""

    at: str
    event: str
    version: int | None = None
    replaced: int | None = None
    """For a promotion or a rollback: the champion before."""
    reason: str = ""
    decision: str = ""
    """For a gate: the key of its decision."""


class LiveAccuracy(Record):
    """One version's live accuracy over the actuals known so far."""

    version: int
    issues: int
    scored: int
    """How many cutoffs have forecasts with known actuals; an issue has several where series end at
    different times.
    """
    error: Number
    """Mean over series of MAE / expected MAE at the same steps (`error_over_expected`)."""
    skill: Number
    """1 - MAE / MAE of repeating the last value, of the means over series after each series was
    divided by its test error of the last value; None without that.
    """
    coverage: Mapping[str, float] = {}
    """Level in percent → share of actuals inside the interval."""


class LiveScores(Record):
    """The live accuracy of a dataset's versions, oldest first, as last computed."""

    live: tuple[LiveAccuracy, ...] = ()
    issues_sha256: str = ""
    """Digest of the file of issued forecasts that was scored."""


def read_live_scores(root: Path, dataset: str) -> LiveScores:
    """The scores as last written; empty where there are none."""
    path = ProjectPaths.of(root).live_forecasts(dataset).with_suffix(".json")
    return read_if_valid(LiveScores, path) or LiveScores()


class Shift(Record):
    """The drift of one column of one series, or of the champion's error."""

    what: str
    """The series and column, or that it is the error."""
    psi: Number = None
    """Population stability index."""
    ks_p: Number = None
    """p-value of the Kolmogorov-Smirnov test, which is made where the index is high."""
    live_error: Number = None
    """Error / expected error of forecasts that the champion makes again for the newest rows
    (`live_accuracy.error_over_expected`); that of issued forecasts is `LiveAccuracy.error`.
    """
    drifted: bool = False


class EquivalenceNumbers(Record):
    """The equivalence test of challenger and champion."""

    word: str
    """Its outcome."""
    upper: Number
    """Upper confidence limit of the challenger's relative loss difference."""
    note: str = ""


class SequentialTest(Record):
    """The sequential test: the challenger is better once `z` reaches `boundary`."""

    z: float
    boundary: Number = None
    n: int | None = None
    """How many origins were counted."""
    mean_difference: Number = None
    """Mean of the champion's loss less the challenger's."""
    alpha: Number = None
    """This pair's share of the gate's alpha."""
    note: str = ""
    """Why there is no test; empty where there is one."""

    @property
    def is_better(self) -> bool:
        """Whether the challenger is shown to be better."""
        return self.boundary is not None and self.z >= self.boundary


class GateNumbers(Record):
    """The numbers of a gate's decision; None where it was made before they were computed.

    Losses are means over the fresh origins; skills are 1 - loss / naive's loss there.
    """

    n_fresh: int | None = None
    """How many fresh origins there were."""
    least_fresh: int | None = None
    """How many fresh origins are needed."""
    ageing_reason: str | None = None
    """Why the champion is stale or drifting; empty where it is neither."""
    naive_loss: float | None = None
    challenger_loss: float | None = None
    challenger_skill: float | None = None
    champion_loss: float | None = None
    champion_skill: float | None = None
    relative_difference: float | None = None
    """The challenger's loss / the champion's loss - 1."""
    evidence: SequentialTest | None = None
    pair_number: int | None = None
    """See `PairEvidence`."""
    equivalence: EquivalenceNumbers | None = None
    age_days: float | None = None
    """The champion's age."""
    new_steps: int | None = None
    """Time steps since the last decision."""
    refitted_champion: int | None = None
    """1 where the rival was the champion's recipe, fitted again; 0 where it was the champion."""


class Decision(Record):
    """What one retraining decided, and why."""

    remedy: ClassVar[str] = (
        "Delete it (or the folder `pending` around it): its data may then be decided on once more."
    )

    key: str
    """Digest of the decision's inputs (`pending.decision_key`)."""
    dataset: str
    as_of: str
    data_sha256: str
    data_end: str
    """The time of the newest row."""
    config_hash: str
    """Digest of the configuration that the challenger follows."""
    revision: str
    """The commit that the challenger was made from."""
    at: str
    word: Outcome | Literal["not due"]
    reason: str
    champion: int | None = None
    """The version that the challenger was compared with."""
    served_version: int | None = None
    """The version with the alias champion; not `champion` where its files were damaged and the
    previous version stood in for it.
    """
    last_move: str = ""
    """`HistoryEvent.at` of the champion's last change before this decision was carried out; empty
    where there was none, and for a decision that promotes nothing.
    """
    candidate: str = ""
    """The challenger's candidate; empty where none was made."""
    version: int | None = None
    """The registered version of the candidate. It does not serve where the word is "kept": then
    another version has become the champion since the gate. None where the gate kept the champion,
    and in a rehearsal.
    """
    refit_version: int | None = None
    """Its refit on all data, where that was promoted too."""
    numbers: GateNumbers = GateNumbers()
    drift: tuple[Shift, ...] = ()
    due: tuple[str, ...] = ()
    """Why a challenger was due."""
    unused_edits: tuple[str, ...] = ()
    """Paths of the checkout with edits that were not committed, and so not used."""
    note: str = ""
    """What went wrong without changing the decision."""

    @property
    def drifted(self) -> list[str]:
        """The columns, or the champion's error, that have drifted."""
        return [shift.what for shift in self.drift if shift.drifted]

    @property
    def promotes(self) -> bool:
        """Whether the gate passed the challenger, and no other version has become the champion
        since.
        """
        return self.word not in ("kept", "not due")

    @property
    def event(self) -> HookEvent:
        """The event of hooks that it is; a run that failed makes no decision."""
        if self.promotes:
            return "promoted"
        return "kept" if self.word == "kept" else "not_due"


def read_decisions(root: Path, dataset: str) -> list[Decision]:
    """Every finished decision, oldest first.

    Raises `DamagedError` naming a file that cannot be read, such as one of another version.
    """
    folder = ProjectPaths.of(root).retraining(dataset) / "decisions"
    decisions = [Decision.read(path) for path in folder.glob("*.json")]
    return sorted(decisions, key=attrgetter("data_end", "at"))


def not_due_file(root: Path, dataset: str) -> Path:
    """The file of the last retraining that was not due."""
    return ProjectPaths.of(root).retraining(dataset) / "not-due.json"


class JobRun(Record):
    """A run of a scheduled job; `ended` and `code` are None while it runs, and stay so where the
    scheduler was killed meanwhile.
    """

    started: str
    ended: str | None = None
    code: int | None = None
    """The exit code."""


class Heartbeat(Record):
    """A sign of life of the scheduler, written every few seconds."""

    pid: int
    at: str
    state: Literal["running", "ended"]
    """A killed scheduler leaves `running`."""
    next: Mapping[str, str] = {}
    """Job → the time of its next run."""
