"""One study: a fixed number of trials of one model on one data slice, drawn by TPE (Bergstra,
Bardenet, Bengio & Kegl 2011). The only module that knows Optuna.

`run_study` asks an `Objective` for the validation loss of each trial and returns the finished
`Trial`s, plain data that is read without Optuna. Trials are stored as they finish, in a journal of
the `StudyStore` or in a database that machines share, so a kill costs the trial that was running
and no other. One process runs a study at a time; a second is refused (`BusyError`). A model that
fails is
a finished trial with an infinite loss and a reason; any other exception stops the study.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from forecast.data.records import Trial
from forecast.models.search import Choice, Dimension, Params, Space, widen_space
from forecast.system import files, postgres
from forecast.system.errors import ForecastError, ModelError
from forecast.system.stage import format_duration

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class TrialOutcome:
    """What the objective returns: the validation loss (lower is better), its curve, or why the
    model failed.

    `curve` is a list of numbers or of rows such as `[step, loss]`; a non-empty `reason` makes
    `value` infinite.
    """

    value: float
    curve: Sequence[Any] = ()
    reason: str = ""

    def to_plain_numbers(self) -> TrialOutcome:
        """Plain Python numbers; a value that is not finite without a reason gets one."""
        value = float(self.value)
        reason = self.reason
        if not reason and not math.isfinite(value):
            reason = f"the validation loss is {value}"
        if reason:
            value = math.inf
        return TrialOutcome(value, files.json_number(self.curve), reason)


Objective = Callable[[Params, int], TrialOutcome]
"""(params, number of the trial) -> outcome.

May raise `ModelError`; any other exception stops the study.
"""

LONG_TRIAL = 15.0
"""Seconds of a trial from which on the rest of a study is told."""
LOCK_TIMEOUT = 2.0 * postgres.SILENT_SECONDS
"""Seconds for the lock of a worker whose machine went silent."""
N_RANDOM_TRIALS = 4
"""Finished trials before TPE takes over from random draws; Optuna's own 10 would never be left with
8 trials.
"""


@dataclass(frozen=True)
class StudyStore:
    """Where studies are stored: journals in `folder`, or a database that many machines share."""

    folder: Path
    database: str = ""
    """A URL such as `postgresql://host/name`; empty: journals."""
    label: str = ""
    """What a study is of, such as `weather lstm.linear`: its name in Optuna is this and its key."""


def run_study(
    space: Space,
    objective: Objective,
    *,
    key: str,
    n_trials: int,
    seed: int,
    store: StudyStore,
    defaults: Params = MappingProxyType({}),
) -> tuple[Trial, ...]:
    """Run the study `key` until `n_trials` trials have finished, counting those of earlier,
    interrupted calls; these trials, in order.

    Trial k is drawn with `seed + k` from the finished trials alone, so an interrupted study equals
    an uninterrupted one. The first trial uses `defaults`; the space is widened where they lie
    outside. A failed model counts; a killed or crashed trial does not and is repeated. `key` names
    everything the result depends on. Raises `BusyError` when another process runs this study.
    """
    space = widen_space(space, defaults)
    store.folder.mkdir(parents=True, exist_ok=True)
    purpose = f"Study {key}"
    with (
        files.hold_lock(store.folder / f"{key}.busy", purpose=purpose),
        postgres.hold_lock(store.database, f"study-{key}", purpose=purpose, timeout=LOCK_TIMEOUT),
    ):
        study = _open_study(key, store)
        with _name_storage_faults(key, store.folder):
            _close_interrupted(study)
            begins = []
            while (number := len(_finished_trials(study))) < n_trials:
                begins.append(monotonic())
                seconds = (begins[-1] - begins[0]) / max(len(begins) - 1, 1)
                if seconds >= LONG_TRIAL:  # the stage hears of the end alone
                    left = format_duration(seconds * (n_trials - number))
                    line = f"tune {store.label}: {number} of {n_trials} trials done"
                    print(f"{line}, about {left} left", file=sys.stderr, flush=True)
                trial = _ask_trial(study, number, seed, defaults)
                _run_trial(study, trial, number, space, objective)
            finished = _finished_trials(study)[:n_trials]
    return tuple(_to_trial_record(number, trial, space) for number, trial in enumerate(finished))


@contextmanager
def _name_storage_faults(key: str, folder: Path) -> Iterator[None]:
    """Turns the errors of a full disk and of a database that went away into a `ForecastError`;
    other errors pass.
    """
    from optuna.exceptions import StorageInternalError

    try:
        with files.explain_full_disk(folder):
            yield
    except StorageInternalError:
        advice = "The trials finished so far are kept there; run the same command again."
        raise ForecastError(f"The database with study {key} went away. {advice}") from None


def _open_study(key: str, store: StudyStore) -> optuna.Study:
    """The study `key` of the store, made where there is none. A journal (no database) is repaired
    first: the caller holds the study's lock, so nobody else writes to it.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from sqlalchemy.pool import NullPool

    # Optuna writes to stderr through a handler of its own, which would break a progress display.
    logging.getLogger("optuna").setLevel(logging.WARNING)
    with postgres.hold_lock(
        store.database, "studies", purpose="Making Optuna's tables", timeout=LOCK_TIMEOUT
    ):
        storage: BaseStorage
        if store.database:
            storage = optuna.storages.RDBStorage(
                store.database, engine_kwargs={"poolclass": NullPool}
            )
        else:  # mended first: the caller holds the study's lock, so nobody else writes to it
            path = store.folder / f"{key}.journal"
            repair_journal(path)
            # its usual lock is a symbolic link, which Windows gives to administrators alone
            lock = JournalFileOpenLock(str(path))
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        name = f"{store.label} {key}".strip()
        return optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True
        )


def _close_interrupted(study: optuna.Study) -> None:
    """Mark trials that a killed process left running as failed, so that they are repeated."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _finished_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The finished trials, in order. FAIL marks only what was interrupted: a failed model is
    COMPLETE with an infinite value, so that TPE learns to stay away from there.
    """
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _ask_trial(study: optuna.Study, number: int, seed: int, defaults: Params) -> optuna.Trial:
    """Trial `number` of the study, drawn with a seed of its own; the first has `defaults`."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(seed=seed + number, n_startup_trials=N_RANDOM_TRIALS)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if number == 0 and defaults and not waiting:
        study.enqueue_trial({name: _label(value) for name, value in defaults.items()})
    return study.ask()


def _run_trial(
    study: optuna.Study, trial: optuna.Trial, number: int, space: Space, objective: Objective
) -> None:
    """Evaluate one trial and tell the study, with the curve and reason as an attribute of it.

    What interrupts it (Ctrl-C, a bug) marks it as failed, so that it is repeated.
    """
    from optuna.trial import TrialState

    try:
        params = {name: _suggest(trial, name, space[name]) for name in space}
        try:
            outcome = objective(params, number).to_plain_numbers()
        except ModelError as error:
            outcome = TrialOutcome(math.inf, reason=str(error))
        _report_curve(trial, outcome.curve)
        trial.set_user_attr("outcome", {"curve": outcome.curve, "reason": outcome.reason})
    except BaseException:  # Ctrl-C included: the trial must not stay RUNNING
        study.tell(trial, state=TrialState.FAIL)
        raise
    study.tell(trial, outcome.value)


def _report_curve(trial: optuna.Trial, curve: Sequence[Any]) -> None:
    """The validation loss at each step where it was measured, as Optuna's intermediate values; they
    decide nothing.
    """
    for row in curve:
        if isinstance(row, list) and row[-1] is not None:  # as `json_number` has what is not finite
            trial.report(row[-1], row[0])


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """The value of one field of a trial, drawn by Optuna."""
    if isinstance(dimension, Choice):
        labels = [_label(option) for option in dimension.options]
        return _option_of_label(dimension, trial.suggest_categorical(name, labels))
    return trial.suggest_float(name, dimension.low, dimension.high, log=True)


def _to_trial_record(number: int, trial: optuna.trial.FrozenTrial, space: Space) -> Trial:
    """A finished trial of Optuna as a record, its labels as options of the space again."""
    outcome = trial.user_attrs["outcome"]
    params = {name: _option_of_label(space[name], trial.params[name]) for name in space}
    return Trial(
        number=number,
        params=params,
        value=trial.values[0],
        curve=outcome["curve"],
        reason=outcome["reason"],
    )


def _label(value: Any) -> Any:
    """Optuna's categories are plain values; a tuple goes through its JSON text."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _option_of_label(dimension: Dimension, label: Any) -> Any:
    """The option that `_label` made `label` of; a number as it is."""
    if not isinstance(dimension, Choice):
        return label
    return next(option for option in dimension.options if _label(option) == label)


def repair_journal(path: Path) -> None:
    """Remove what a killed writer left: Optuna's own lock (it would wait 30 s for it) and a torn
    last line.

    Optuna would append to the torn line and could never read the file again. Everything from the
    first unreadable line on is dropped: a study is deterministic, so the trials lost with it are
    repeated to the same result.
    """
    for leftover in path.parent.glob(f"{path.name}.lock*"):
        leftover.unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    intact = intact_length(content)
    if intact < len(content):
        with path.open("r+b") as file:
            file.truncate(intact)


def intact_length(content: bytes) -> int:
    """The bytes up to the end of the last line before the first one that is not a complete JSON
    object.
    """
    length = 0
    with suppress(ValueError):
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n") or not isinstance(json.loads(line), dict):
                break
            length += len(line)
    return length
