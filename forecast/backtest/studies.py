"""Runs one study: a fixed number of trials of one model on one data slice, drawn by TPE (Bergstra,
Bardenet, Bengio & Kegl 2011). The only module that uses Optuna.

`run_study` asks an `Objective` for the validation loss of each trial and returns the finished
`Trial`s, which are read without Optuna. Trials are stored as they finish, in a journal file or in a
database that machines share (`StudyStore`), so that a killed process loses only the running trial.
One process runs a study at a time; a second one is refused (`BusyError`). A model that fails is a
finished trial with an infinite loss and a reason; any other exception stops the study.
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
from forecast.system.progress import format_duration

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class TrialOutcome:
    """The result of one trial: the validation loss (lower is better) and its curve, or the reason
    why the model failed.

    `curve` is a list of numbers or of rows such as `[step, loss]`; with a `reason` the loss counts
    as infinite.
    """

    value: float
    curve: Sequence[Any] = ()
    reason: str = ""

    def to_plain_numbers(self) -> TrialOutcome:
        """The outcome in plain Python numbers; a loss that is not finite gets a reason."""
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
"""Where trials take this many seconds, the time left of the study is printed after each."""
LOCK_TIMEOUT = 2.0 * postgres.SILENT_SECONDS
"""Seconds to wait for a lock; the database frees that of a silent machine in half of this time."""
N_RANDOM_TRIALS = 4
"""Random trials before TPE takes over. With Optuna's default of 10, a study of 8 trials would never
reach TPE.
"""


@dataclass(frozen=True)
class StudyStore:
    """Where studies are stored: as journals in `folder`, or in a database that machines share."""

    folder: Path
    database: str = ""
    """A URL such as `postgresql://host/name`; empty: journals."""
    label: str = ""
    """What the study is of, such as `weather lstm.linear`; its name in Optuna is label and key."""


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
    """Run the study `key` until `n_trials` trials have finished, including those of earlier,
    interrupted calls; returns them in order.

    Trial k is drawn with `seed + k` from the finished trials alone, so an interrupted study equals
    an uninterrupted one. The first trial has the values `defaults`; the space is widened where they
    lie outside of it. A failed model counts as a trial; a killed or crashed trial is repeated.
    `key` stands for everything that the result depends on. `BusyError` if another process runs this
    study.
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
                if seconds >= LONG_TRIAL:  # the stage itself reports only finished studies
                    left = format_duration(seconds * (n_trials - number))
                    line = f"tune {store.label}: {number} of {n_trials} trials done"
                    print(f"{line}, about {left} left", file=sys.stderr, flush=True)
                trial = _ask_trial(study, number, seed, defaults)
                _run_trial(study, trial, number, space, objective)
            finished = _finished_trials(study)[:n_trials]
    return tuple(_to_trial_record(number, trial, space) for number, trial in enumerate(finished))


@contextmanager
def _name_storage_faults(key: str, folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk and of a lost database into a `ForecastError`."""
    from optuna.exceptions import StorageInternalError

    try:
        with files.explain_full_disk(folder):
            yield
    except StorageInternalError:
        advice = "The trials finished so far are kept there; run the same command again."
        raise ForecastError(f"The database with study {key} went away. {advice}") from None


def _open_study(key: str, store: StudyStore) -> optuna.Study:
    """Open the study `key` of the store, or make it. The caller holds the lock of the study."""
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
        else:
            path = store.folder / f"{key}.journal"
            repair_journal(path)
            # Optuna's default lock is a symbolic link, which on Windows takes an administrator
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
    """The finished trials, in order. A failed model is COMPLETE with an infinite loss, so that TPE
    learns to avoid its values; the state FAIL marks interrupted trials.
    """
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _ask_trial(study: optuna.Study, number: int, seed: int, defaults: Params) -> optuna.Trial:
    """Draw trial `number` of the study with its own seed; the first one has `defaults`."""
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
    """Evaluate one trial and store its loss in the study, with curve and reason as an attribute.

    A trial that is interrupted (by Ctrl-C or a bug) is marked FAIL, so that it is repeated.
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
    """Store the validation loss of each step as Optuna's intermediate values, which its dashboard
    draws; they decide nothing.
    """
    for row in curve:
        if isinstance(row, list) and row[-1] is not None:  # None: the loss was not finite
            trial.report(row[-1], row[0])


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """The value of one dimension of a trial, drawn by Optuna."""
    if isinstance(dimension, Choice):
        labels = [_label(option) for option in dimension.options]
        return _option_of_label(dimension, trial.suggest_categorical(name, labels))
    return trial.suggest_float(name, dimension.low, dimension.high, log=True)


def _to_trial_record(number: int, trial: optuna.trial.FrozenTrial, space: Space) -> Trial:
    """A finished trial of Optuna as a record, with the options of the space for their labels."""
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
    """An option as Optuna can store it: a plain value, or a tuple as JSON text."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _option_of_label(dimension: Dimension, label: Any) -> Any:
    """The option whose `_label` is `label`; a drawn number is returned as it is."""
    if not isinstance(dimension, Choice):
        return label
    return next(option for option in dimension.options if _label(option) == label)


def repair_journal(path: Path) -> None:
    """Remove what a killed process left: Optuna's lock, for which the next would wait 30 s, and
    everything from the first incomplete line on.

    Optuna would append to an incomplete line and could then not read the file. Trials that are lost
    are repeated with the same result, since a study is deterministic.
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
    """The number of bytes before the first line that is not a complete JSON object."""
    length = 0
    with suppress(ValueError):
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n") or not isinstance(json.loads(line), dict):
                break
            length += len(line)
    return length
