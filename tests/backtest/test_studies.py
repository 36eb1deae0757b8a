"""Studies: the same result whatever interrupts them, failed models as results, one worker each."""

import itertools
import math
import os
import signal
import sys
import textwrap
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from forecast.backtest import studies
from forecast.backtest.studies import StudyStore, TrialOutcome, run_study
from forecast.data.records import Trial, best_trial
from forecast.models.search import Choice, LogUniform
from forecast.system import files
from forecast.system.errors import BusyError, ForecastError, ModelError
from forecast.system.progress import format_duration
from tests.support import small_project, warm_interpreter

ROOT = Path(__file__).parents[2]
SPACE = {
    "units": Choice((16, 32, 64)),
    "delays": Choice(((1,), (1, 2), (1, 2, 3))),
    "rate": LogUniform(1e-4, 1e-1),
    "dropout": Choice((0.0, 0.1, 0.25, 0.5)),
    "layers": Choice((1, 2, 3)),
}
DEFAULTS = {"units": 32, "delays": (1, 2), "rate": 1e-2, "dropout": 0.1, "layers": 2}


def bowl(params: dict, number: int) -> TrialOutcome:
    """Lowest at 16 units, one layer, no dropout, rate 0.003."""
    value = (
        params["units"] / 16
        + params["layers"]
        + params["dropout"]
        + abs(math.log(params["rate"] / 0.003))
    )
    return TrialOutcome(value, [[1, 2 * value], [2, value]])


def study(
    folder: Path, objective=bowl, *, n_trials: int = 7, key: str = "study", **options
) -> tuple[Trial, ...]:
    return run_study(
        SPACE,
        objective,
        key=key,
        n_trials=n_trials,
        seed=5,
        store=StudyStore(folder, options.pop("storage", ""), options.pop("label", "")),
        defaults=DEFAULTS,
        **options,
    )


def test_the_first_trial_is_the_familys_default(tmp_path):
    first = study(tmp_path, n_trials=1)[0]
    assert first.params == DEFAULTS
    assert first.value == pytest.approx(2 + 2 + 0.1 + math.log(0.01 / 0.003))
    assert first.curve == ((1, 2 * first.value), (2, first.value))


@pytest.mark.parametrize(("seconds", "n_told"), [(100.0, 4), (1.0, 0)])
def test_a_long_study_tells_before_each_trial_how_long_the_rest_takes(
    tmp_path, monkeypatch, capsys, seconds, n_told
):
    """The first of six trials was finished by an earlier call."""
    study(tmp_path, n_trials=1, label="heat boosting")
    clock = itertools.count(0.0, seconds)
    monkeypatch.setattr(studies, "monotonic", lambda: next(clock))
    study(tmp_path, n_trials=6, label="heat boosting")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == n_told
    for number, line in enumerate(lines, 2):
        left = format_duration(seconds * (6 - number))
        assert line == f"tune heat boosting: {number} of 6 trials done, about {left} left"


def test_optuna_shows_a_readable_name_and_the_loss_at_every_step(tmp_path):
    result = study(tmp_path, n_trials=2, label="weather gru.linear")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.study_name == "weather gru.linear study"
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    assert [trial.intermediate_values for trial in trials] == [
        dict(trial.curve) for trial in result
    ]
    assert trials[0].user_attrs["outcome"]["curve"][0][0] == 1


def test_what_was_not_measured_of_a_curve_is_left_out(tmp_path):
    def half_measured(params: dict, number: int) -> TrialOutcome:
        return TrialOutcome(1.0, [[1, math.nan], [2, 1.0]])

    study(tmp_path, half_measured, n_trials=1)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    (trial,) = optuna.load_study(study_name="study", storage=storage).trials
    assert trial.intermediate_values == {2: 1.0}


def test_trials_stay_inside_the_space_and_the_best_is_the_lowest(tmp_path):
    result = study(tmp_path)
    assert [trial.number for trial in result] == list(range(7))
    assert all(
        SPACE[name].widen_to(trial.params[name]) == SPACE[name]
        for trial in result
        for name in SPACE
    )
    assert best_trial(result).value == min(trial.value for trial in result)


def test_a_finished_study_is_read_back_without_running_a_trial(tmp_path):
    def forbidden(params, number):
        raise AssertionError("no trial is left to run")

    assert study(tmp_path) == study(tmp_path, forbidden)


def test_n_trials_is_the_total_whatever_was_run_before(tmp_path):
    numbers = []

    def counting(params, number):
        numbers.append(number)
        return bowl(params, number)

    study(tmp_path, counting, n_trials=3)
    longer = study(tmp_path, counting, n_trials=7)
    assert numbers == list(range(7))
    assert longer == study(tmp_path / "at once")
    assert study(tmp_path, n_trials=3) == longer[:3]


KILLED = """
    import os, signal
    from pathlib import Path
    from forecast.backtest import studies
    from tests.backtest import test_studies

    def killed(params, number):
        if number == {number} and {moment!r} == "in the objective":
            os.kill(os.getpid(), signal.SIGKILL)
        return test_studies.bowl(params, number)

    run_trial = studies._run_trial

    def last(study, trial, number, *about):
        run_trial(study, trial, number, *about)
        if number + 1 == {number}:
            os.kill(os.getpid(), signal.SIGKILL)

    if {moment!r} == "between trials":
        studies._run_trial = last
    test_studies.study(Path({folder!r}), killed)
"""


IN_TRIAL, BETWEEN = "in the objective", "between trials"


@pytest.mark.parametrize(
    ("moment", "number"), [(IN_TRIAL, 0), (IN_TRIAL, 1), (IN_TRIAL, 5), (BETWEEN, 1), (BETWEEN, 5)]
)
def test_a_study_killed_and_resumed_equals_an_uninterrupted_one(tmp_path, moment, number):
    script = textwrap.dedent(KILLED).format(
        number=number, moment=moment, folder=str(tmp_path / "killed")
    )
    killed = warm_interpreter.run(
        [sys.executable, "-c", script], cwd=ROOT, env=small_project.environment()
    )
    assert killed.returncode == -signal.SIGKILL
    assert study(tmp_path / "killed") == study(tmp_path / "whole")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_stops_the_study_and_the_next_run_continues_to_the_same_result(
    tmp_path, error
):
    def broken(params, number):
        if number == 4:
            raise error("a bug")
        return bowl(params, number)

    with pytest.raises(error, match="a bug"):
        study(tmp_path / "stopped", broken)
    trials_again = []
    resumed = study(
        tmp_path / "stopped",
        lambda params, number: trials_again.append(number) or bowl(params, number),
    )
    assert trials_again == [4, 5, 6]
    assert resumed == study(tmp_path / "whole")


@pytest.mark.parametrize("torn", [b'{"op_code":6,"wor', b"\0\0\0\0", b"\xff\xfe\n"])
def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path, torn):
    study(tmp_path / "torn", n_trials=4)
    with (tmp_path / "torn" / "study.journal").open("ab") as journal:
        journal.write(torn)
    assert study(tmp_path / "torn") == study(tmp_path / "whole")


def test_optunas_lock_left_by_a_killed_process_does_not_delay_the_next_run(tmp_path):
    study(tmp_path, n_trials=2)
    (tmp_path / "study.journal.lock").symlink_to(tmp_path / "study.journal")
    assert len(study(tmp_path)) == 7


@pytest.mark.parametrize("n_lines", [3, 9, 20])
def test_any_prefix_of_the_journal_resumes_to_the_same_result(tmp_path, n_lines):
    whole = study(tmp_path / "whole")
    lines = (tmp_path / "whole" / "study.journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "study.journal").write_bytes(b"".join(lines[:n_lines]))
    assert study(tmp_path / "cut") == whole


def test_a_failed_model_counts_and_keeps_its_reason(tmp_path):
    def fragile(params, number):
        if number == 1:
            return TrialOutcome(math.inf, reason="diverged at step 12")
        if number == 2:
            raise ModelError("the normal equations are singular")
        if number == 3:
            return TrialOutcome(math.nan, [[1, math.nan]])
        return bowl(params, number)

    result = study(tmp_path, fragile, n_trials=5)
    assert [trial.value is None for trial in result] == [False, True, True, True, False]
    assert [trial.reason for trial in result[1:4]] == [
        "diverged at step 12",
        "the normal equations are singular",
        "the validation loss is nan",
    ]
    assert result[3].curve == ((1, None),)
    assert best_trial(result).number in (0, 4)


def test_a_study_of_failed_models_has_no_best(tmp_path):
    result = study(tmp_path, lambda params, number: TrialOutcome(math.inf, reason="no"), n_trials=2)
    assert best_trial(result) is None


def test_equal_studies_write_equal_bytes_of_plain_json(tmp_path):
    for name in ("a", "b"):
        trials = study(tmp_path / name, n_trials=3)
        files.write_json(tmp_path / f"{name}.json", [trial.to_json() for trial in trials])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert files.read_json(tmp_path / "a.json")[0]["params"]["delays"] == [1, 2]


def test_a_second_worker_of_the_same_study_is_turned_away(tmp_path):
    def nested(params, number):
        study(tmp_path)
        return bowl(params, number)

    with pytest.raises(BusyError, match=f"PID {os.getpid()}"):
        study(tmp_path, nested)


def test_a_default_outside_the_space_widens_it(tmp_path):
    defaults = {**DEFAULTS, "units": 48, "dropout": 0.9, "layers": 4}
    result = run_study(
        SPACE, bowl, key="s", n_trials=3, seed=0, store=StudyStore(tmp_path), defaults=defaults
    )
    assert result[0].params == defaults


def test_a_full_disk_is_said_plainly(tmp_path):
    def full(params, number):
        raise OSError(28, "No space left on device")

    with pytest.raises(ForecastError, match="No space left"):
        study(tmp_path, full)


def test_a_database_holds_the_same_study_as_a_journal(tmp_path):
    database = study(tmp_path, n_trials=2, storage=f"sqlite:///{tmp_path}/studies.db")
    assert database == study(tmp_path, n_trials=2)
