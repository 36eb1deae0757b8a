"""One study: a fixed number of trials of one model on one data slice, drawn by TPE (Bergstra et al. 2011)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.backtest.tuning.journal import open_journal
from forecast.backtest.tuning.results import StudyResult, Trial, TrialOutcome
from forecast.models.search import Choice, Dimension, Integer, LogUniform, Space, including
from forecast.system import files
from forecast.system.errors import ForecastError, InputError, ModelFailure

if TYPE_CHECKING:
    import optuna

Objective = Callable[[dict[str, Any], int], TrialOutcome]
"""(params, number of the trial) -> outcome. May raise `ModelFailure`; any other exception stops the study."""

Report = Callable[[int, int, Trial], None]
"""(finished trials, all trials, the trial that has just finished); for progress."""

RANDOM_TRIALS = 4
"""Finished trials before TPE takes over from random draws; Optuna's own 10 would never be left with 8 trials."""


def run_study(
    space: Space,
    objective: Objective,
    *,
    key: str,
    n_trials: int,
    seed: int,
    folder: Path,
    defaults: Mapping[str, Any] | None = None,
    report: Report | None = None,
    storage: str | None = None,
) -> StudyResult:
    """Run the study `key` until `n_trials` trials have finished, counting those of earlier, interrupted calls.

    Trial k is drawn with `seed + k` from the finished trials alone, so an interrupted study equals an uninterrupted
    one. The first trial uses `defaults`; the space is widened where they lie outside. A failed model counts; a killed
    or crashed trial does not and is repeated.
    The study is kept in `folder/<key>.journal` (or at `storage`, a database URL such as
    `postgresql+psycopg://host/name`, for many machines). `key` names everything the result depends on.
    Raises `BusyError` when another process runs this study, `InputError` for `defaults` that are no dimension.
    """
    space = including(space, defaults or {})
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder / f"{key}.busy", what=f"Study {key}"):
        study = _open(key, folder, storage)
        try:
            _require_same(study, space, seed, defaults or {})
            _close_interrupted(study)
            while (number := len(_finished(study))) < n_trials:
                trial = _next_trial(study, number, seed, defaults)
                _run_trial(study, trial, number, space, objective)
                if report is not None:
                    report(number + 1, n_trials, _as_trial(number, _finished(study)[number], space))
            finished = _finished(study)[:n_trials]
        except OSError as error:
            raise _explained(error, folder) from error
    return StudyResult(key, n_trials, tuple(_as_trial(k, trial, space) for k, trial in enumerate(finished)))


def _open(key: str, folder: Path, storage: str | None) -> optuna.Study:
    import optuna

    # Optuna writes to stderr through a handler of its own, which would break a progress display.
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna.create_study(
        storage=storage or open_journal(folder / f"{key}.journal"),
        study_name=key,
        direction="minimize",
        load_if_exists=True,
    )


def _require_same(study: optuna.Study, space: Space, seed: int, defaults: Mapping[str, Any]) -> None:
    """A key that leaves something out would mix two studies into one; refuse instead."""
    made_with = {"space": {name: repr(space[name]) for name in space}, "seed": seed, "defaults": dict(defaults)}
    digest = files.sha256_of(made_with)
    known = study.user_attrs.get("made_with")
    if known is None:
        study.set_user_attr("made_with", digest)
    elif known != digest:
        raise InputError(
            f"Study {study.study_name} was made with another search space, seed or defaults than it is given now. "
            "Put them into its key, or delete its journal."
        )


def _close_interrupted(study: optuna.Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """In order. FAIL marks only what was interrupted: a failed model is COMPLETE with an infinite value,

    so that TPE learns to stay away from there.
    """
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _next_trial(study: optuna.Study, number: int, seed: int, defaults: Mapping[str, Any] | None) -> optuna.Trial:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(seed=seed + number, n_startup_trials=RANDOM_TRIALS)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if number == 0 and defaults and not waiting:
        study.enqueue_trial({name: _label(value) for name, value in defaults.items()})
    return study.ask()


def _run_trial(study: optuna.Study, trial: optuna.Trial, number: int, space: Space, objective: Objective) -> None:
    from optuna.trial import TrialState

    try:
        params = {name: _suggest(trial, name, space[name]) for name in space}
        outcome = _outcome(objective, params, number)
        trial.set_user_attr("outcome", {"curve": outcome.curve, "reason": outcome.failed})
    except BaseException:  # Ctrl-C included: the trial must not stay RUNNING
        study.tell(trial, state=TrialState.FAIL)
        raise
    study.tell(trial, outcome.value)


def _outcome(objective: Objective, params: dict[str, Any], number: int) -> TrialOutcome:
    try:
        return objective(params, number).checked()
    except ModelFailure as error:
        return TrialOutcome.failure(str(error))


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        label = trial.suggest_categorical(name, [_label(option) for option in dimension.options])
        return _option(dimension, label)
    if isinstance(dimension, Integer):
        return trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def _as_trial(number: int, trial: optuna.trial.FrozenTrial, space: Space) -> Trial:
    outcome = trial.user_attrs["outcome"]
    params = {name: _option(space[name], trial.params[name]) for name in space}
    return Trial(number, float(trial.values[0]), params, outcome["curve"], outcome["reason"])


def _label(value: Any) -> Any:
    """Optuna's categories are plain values; a tuple goes through its JSON text."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _option(dimension: Dimension, label: Any) -> Any:
    if not isinstance(dimension, Choice):
        return label
    return next(option for option in dimension.options if _label(option) == label)


def _explained(error: OSError, folder: Path) -> Exception:
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return ForecastError(
            f"No space left while writing the study in {folder}. The trials finished so far are kept. "
            "Free some space (`forecast clean` removes what can be made again), then run the same command again."
        )
    return error
