"""Typed records of what stages write beside their arrays and frames.

    RunRecord     data/trained/<dataset>/<candidate>/record.json: how the candidate was trained
    SeedFit       fit.json of one seed beside its forecasts, and an entry of `RunRecord.seeds`
    StudyRecord   data/tuned/<dataset>/<candidate>.json: every tuning trial and the best of them
    SnapshotRecord   data/snapshots/<dataset>/<as_of>-<sha8>.json: where a snapshot came from

A `Record` with a file of its own is written by its `write` and read by its `read`; one inside
another file by `to_json` and `parse`. `SnapshotRecord` is a dict that `data.snapshots` writes.
Numbers that are not finite are None, since JSON has neither NaN nor infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from forecast.system import files
from forecast.system.errors import DamagedError, one_line

RunStatus = Literal["ok", "failed"]
Ranking = Literal["shipped", "architecture", "baseline"]
SkipKind = Literal["none", "last", "seasonal", "linear"]
Number = Annotated[float | None, BeforeValidator(files.json_number)]
"""A finite number; None where it was not measured or is not finite."""
Rounded = Annotated[float | None, BeforeValidator(files.six_digits)]
"""A `Number` with six significant digits, for figures made of differences of forecasts."""


class Record(BaseModel):
    """Base class of the records: immutable, unknown keys are refused."""

    remedy: ClassVar[str] = "Delete it and run `dvc repro` to make it again."
    """What to do about a damaged file, in a sentence of the error."""

    # deferred, since a command uses few of all these classes
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, by field name."""
        return self.model_dump(mode="json")

    def write(self, path: Path) -> None:
        """Write the record to `path`; equal records give equal bytes."""
        files.write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in `path`.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedError: the file cannot be read, or holds something else.
        """
        try:
            return cls.model_validate(files.read_json(path))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise cls._damage_error(path, error) from None

    @classmethod
    def parse(cls, content: Any, source: Path) -> Self:
        """The record with the JSON values `content`, which were read from the file `source`.

        Raises:
            DamagedError: `content` is not such a record; the message names the file.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise cls._damage_error(source, error) from None

    @classmethod
    def _damage_error(cls, path: Path, fault: Exception) -> DamagedError:
        """The error for a file that does not hold such a record."""
        reason = describe_first(fault)
        return DamagedError(f"{path}: no {cls.__name__} of this version ({reason}). {cls.remedy}")


def describe_first(error: Exception) -> str:
    """The first fault of a pydantic error with its key; the text of any other error."""
    if not isinstance(error, ValidationError):
        return one_line(error)
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"])) or "the file"
    return f"{key}: {fault['msg']}"


class SeedFit(Record):
    """How one seed of a candidate was fitted."""

    seed: int
    status: RunStatus = "ok"
    reason: str = ""
    """Why it failed; a remark where it did not."""
    best_step: int = 0
    """The training step with the lowest validation loss; 0 for a model without steps."""
    repeated_steps: int = 0
    """Training steps of the final fit on train and validation rows together."""
    steps_by_fold: tuple[int, ...] = ()
    """For each fold of the validation block, the best step by the losses of the other folds."""
    validation_loss: Number = None
    curve: tuple[tuple[int, Number, Number], ...] = ()
    """(step, train loss, validation loss) in scaled units."""
    n_params: int = 0
    refits: int = 0
    """How often it was fitted again in the backtest after the validation block."""
    rows_seen: int = 0
    """The train rows, of all series, of the fit in use when the test block begins; refits
    excluded.
    """

    @property
    def steps_taken(self) -> int:
        """Training steps up to the last validation, and the repeated ones."""
        return self.curve[-1][0] + self.repeated_steps if self.curve else 0


class TrainingCost(Record):
    """What training a candidate took, over all seeds, in counts that no machine changes."""

    gradient_steps: int = 0
    """The gradient steps allowed to the fits on the train rows."""
    gradient_steps_taken: int = 0
    """Those that they took, and those of the second fits, on train and validation rows."""
    tuning_gradient_steps: int = 0
    """The gradient steps allowed to all tuning trials together."""
    targets_learnt_from: int = 0
    """The target values in all batches of training and tuning."""


class CandidateCost(Record):
    """The seconds that a candidate took; None where not measured. They are kept apart from the
    results, since they differ from run to run.
    """

    cpu_seconds: float | None = None
    """CPU time of training and forecasting, over all seeds."""
    wall_seconds: float | None = None
    """The wall time of the same, summed over jobs that may have run in parallel."""
    tuning_cpu_seconds: float | None = None


UNKNOWN_COST = CandidateCost()
"""The cost of a candidate without a cost file."""


class Digests(Record):
    """sha256 digests of what a result depends on: data, configuration, code; `key`: of all
    together, the key of the cached result.
    """

    data: str = ""
    config: str = ""
    code: str = ""
    key: str = ""


class LoopNumbers(Record):
    """A recursive network that runs on its own forecasts (`backtest.diagnostics` explains the
    figures).
    """

    verdict: str
    reach: Rounded
    exponent: Rounded


class NetworkCurves(Record):
    """The data of a network's figures."""

    lags: tuple[int, ...]
    """Rows before the cutoff, rising from 0."""
    gradient: tuple[Rounded, ...]
    """By lag, the norm of d forecast / d input."""
    free_run: tuple[Rounded, ...] = ()
    """By step of a closed loop, the largest distance from the last observation."""


class NetworkDiagnosis(Record):
    """The behaviour of one trained network (`forecast.backtest.diagnostics`)."""

    loop: LoopNumbers | None = None
    """Of a recursive network; None for any other."""
    arrays: NetworkCurves


class Diagnostics(NetworkDiagnosis):
    """The diagnosis of the network of one seed."""

    seed: int

    @property
    def loop_verdict(self) -> str:
        """What the closed loop of a recursive network does; empty for any other network."""
        return self.loop.verdict if self.loop else ""


class Trial(Record):
    """One finished tuning trial; a failed one has a reason and no value."""

    number: int
    """The trial's number in its study, from 0."""
    params: dict[str, Any] = {}
    """The tuned fields of the model, with their values."""
    value: Number = None
    """The validation loss."""
    curve: tuple[tuple[Number, ...], ...] = ()
    """Rows of step and losses; the last column is the validation loss."""
    reason: str = ""

    @property
    def steps_taken(self) -> int:
        """Training steps up to the last validation."""
        return int(self.curve[-1][0] or 0) if self.curve else 0


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest value, the first of equals; None where every trial failed."""
    finished = [trial for trial in trials if trial.value is not None]
    return min(finished, key=attrgetter("value"), default=None)


class StudyRecord(Record):
    """The finished trials of one study, and the number of the best one."""

    model: str
    skip: SkipKind | None
    study: str
    """The key of the study: the digest of all that its result depends on."""
    n_trials: int
    gradient_steps: int
    """The gradient steps that one trial was allowed."""
    best: int | None
    """The number of the trial with the lowest value; None where every trial failed."""
    trials: tuple[Trial, ...]

    @property
    def best_params(self) -> dict[str, Any] | None:
        """The values of the best trial; None where every trial failed."""
        return None if self.best is None else self.trials[self.best].params


class Recipe(Record):
    """What is needed to train a candidate again, tuned values included."""

    candidate: str
    """The model's name; for a network followed by its skip, as `lstm.linear` or `lstm.last`."""
    model: str
    params: dict[str, Any]
    """The complete entry of configs/models.yaml; for a combination its rule."""
    ranking: Ranking
    skip: SkipKind | None = None
    """The skip that a network is added to; None for other models."""


class MemberRecipe(Recipe):
    """The recipe of a member of a combination, and its weight."""

    weight: float


class FullRecipe(Recipe):
    """A recipe; for a combination with those of its members, the largest weight first, without
    members of weight 0.
    """

    members: tuple[MemberRecipe, ...] = ()

    def trains_like(self, other: FullRecipe) -> bool:
        """Whether both train the same candidate with the same settings. Of
        combinations, whose weights are learnt again, the members in both are compared; there must
        be at least one.
        """
        if (self.candidate, self.params) != (other.candidate, other.params):
            return False
        settings = {member.candidate: member.params for member in other.members}
        common = [member for member in self.members if member.candidate in settings]
        has_common = bool(common) or not self.members
        return has_common and all(settings[member.candidate] == member.params for member in common)


class DatedWeights(Record):
    """The weights of a combination, and the time of the last target they were learnt from."""

    weights: dict[str, float]
    """Weight by candidate; they sum to 1, and members of weight 0 are left out."""
    learnt_until: datetime


def newest_weights(history: Sequence[DatedWeights], cutoff: datetime) -> DatedWeights:
    """The newest of `history` (rising in time) that was learnt from no target after `cutoff`; the
    first, from the validation block, where none is that old.
    """
    usable = [dated for dated in history if dated.learnt_until <= cutoff]
    return usable[-1] if usable else history[0]


class RunRecord(FullRecipe):
    """The record of one candidate that stage `train` writes."""

    dataset: str
    family: str
    kind: str
    """The kind of model: baseline, linear, regression, statistical, network, pretrained or
    combination.
    """
    status: RunStatus
    reason: str = ""
    """Why it failed, by seed; for a combination also which members are missing."""
    skip_model: str | None = None
    """The model that forecasts as this candidate's skip alone."""
    description: str = ""
    equation: str = ""
    source: str = ""
    """The publication of the model."""
    tuned: dict[str, Any] = {}
    """The values that tuning selected, by field."""
    trials: tuple[Trial, ...] = ()
    seeds: tuple[SeedFit, ...] = ()
    cost: TrainingCost = TrainingCost()
    n_params: int = 0
    """The number of fitted parameters; for a combination, of all members."""
    refits: int = 0
    rows_seen: int = 0
    weights: tuple[DatedWeights, ...] = ()
    """The weights of a combination over time, from the validation block on."""
    diagnostics: Diagnostics | None = None
    digests: Digests = Digests()

    @property
    def has_failed(self) -> bool:
        """Whether it is not scored, as a seed failed or a combination has no members."""
        return self.status != "ok"

    @property
    def is_network(self) -> bool:
        """Whether the candidate is a neural network."""
        return self.kind == "network"

    @property
    def is_untrained(self) -> bool:
        """Whether no seed of a network trained by gradient found a step that is better than its
        first weights; it then forecasts as its skip alone.
        """
        by_gradient = self.params.get("trainer", "gradient") == "gradient"
        has_steps = self.is_network and by_gradient and bool(self.seeds) and not self.has_failed
        return has_steps and all(seed.best_step == 0 for seed in self.seeds)

    @property
    def labels(self) -> dict[str, str]:
        """Model and ranking, which name a candidate's rows in every table."""
        return {"model": self.model, "ranking": self.ranking}


def read_run_records(trained: Path) -> dict[str, RunRecord]:
    """Every record in data/trained/<dataset> by candidate, sorted by name."""
    paths = sorted(trained.glob("*/record.json"))
    return {path.parent.name: RunRecord.read(path) for path in paths}


def _require_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


TimeText = Annotated[str, AfterValidator(_require_time)]
"""ISO 8601, in UTC."""


class SnapshotRecord(TypedDict, total=False):
    """The record beside a snapshot: where its rows came from. The first group of keys comes from
    the source, the second from the fetch, the third from `write_snapshot`. Times are ISO 8601 in
    UTC. It contains no secrets and no paths of this machine.
    """

    source: str
    parameters: Mapping[str, object]
    """What the source was asked for."""
    adjustment: str
    library: Mapping[str, str]
    """The versions of the libraries that read the source."""
    terms: str
    retrieved_at: str | None
    file_sha256: str
    """The digests of the user's files, in the order of `Source.files`, separated by spaces."""

    licence: Mapping[str, str]
    question: Mapping[str, object]
    """`Source.identity`: what has to stay the same for the history to be continued."""
    previous: str | None
    """The digest of the snapshot that this one continues."""
    revised_values: int
    failed: Mapping[str, str]
    """The series that the source could not give, with the reason."""
    provisional_from: TimeText | None
    """Rows from this time on are read again."""
    findings: Sequence[Mapping[str, object]]
    issued: str | None
    issued_sha256: str | None
    last: TimeText
    """The time of the last observation."""
    known: TimeText
    """When the last observation became known."""

    rows: int
    series: list[str]
    columns: list[str]
    first: TimeText
    as_of: TimeText
    sha256: str
    dataset: str


SNAPSHOT_RECORD = TypeAdapter(SnapshotRecord)


def read_snapshot_record(path: Path) -> SnapshotRecord:
    """The record of a snapshot in `path`.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: a key is not as a fetch writes it; the message names the first.
    """
    try:
        content = files.read_json(path)
        record = SNAPSHOT_RECORD.validate_python(content, strict=True)
        if not {"rows", "series", "first", "last"} <= record.keys():
            raise ValueError("rows, series, first or last missing")
        return record
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        raise DamagedError(
            f"{path}: cannot be read ({describe_first(error)}). Restore it from git, or delete"
            f" it: then `forecast fetch {path.parent.name}` does not know which rows were"
            " provisional, and the provider's forecasts begin again."
        ) from None
