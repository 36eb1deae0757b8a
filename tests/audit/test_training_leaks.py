"""Leaks in the tuning and training of a network, planted in a copy of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.audit import cases
from tests.audit.cases import FEWEST, STACKED, append, audited, write
from tests.audit.test_leaks import calibration_on_test, folds_without_an_embargo


def tuning_on_test(root: Path) -> None:
    append(
        root,
        "forecast/backtest/tuning.py",
        """
        from dataclasses import replace as _replace

        _load = load_problem

        def load_problem(place, needed):
            everything = ("train", "validation", "calibration", "test")
            problem = _load(_replace(place, file="frame.parquet"), everything)
            blocks = {uid: _replace(b, validation=b.test) for uid, b in problem.blocks.items()}
            return _replace(problem, blocks=blocks, _scaled={})
    """,
    )


def early_stop_on_test(root: Path) -> None:
    append(
        root,
        "forecast/forecaster/fitting.py",
        """
        _window_error = window_error

        class _OnTest:
            def __init__(self, problem):
                self.problem = problem

            def __getattr__(self, name):
                return getattr(self.problem, name)

            def rows(self, uid, block):
                scored = "test" if "test" in SCORED_NOW(self.problem) else block
                return self.problem.rows(uid, scored)

        def SCORED_NOW(problem):
            long = all(b.test[1] > b.test[0] + 10 for b in problem.blocks.values())
            return {"test"} if long else set()

        def window_error(problem, network, skip, loss):
            return _window_error(_OnTest(problem), network, skip, loss)
    """,
    )


def both_directions_across_the_origin(root: Path) -> None:
    append(
        root,
        "forecast/data/windows.py",
        """
        _gather = gather_windows

        def gather_windows(z, future, rows, channels, *, lookback, horizon, unique_id=""):
            exact = _gather(
                z,
                future,
                rows,
                channels,
                lookback=lookback,
                horizon=horizon,
                unique_id=unique_id,
            )
            later = np.minimum(rows + horizon, len(z) - 1)
            ahead = _gather(z, future, later, channels, lookback=lookback, horizon=horizon)
            past = exact.past + 0.1 * ahead.past[:, ::-1]
            return Windows(exact.z, past, exact.future, exact.last, exact.rows, exact.series)
    """,
    )


def training_to_the_end_of_validation(root: Path) -> None:
    append(
        root,
        "forecast/forecaster/fitting.py",
        """
        from dataclasses import replace as _replace

        _series_of = build_training_series

        def build_training_series(problem, skip):
            blocks = {
                uid: _replace(b, train=(b.train[0], b.validation[1]))
                for uid, b in problem.blocks.items()
            }
            return _series_of(_replace(problem, blocks=blocks), skip)
    """,
    )


def seed_chosen_on_test(root: Path) -> None:
    append(
        root,
        "forecast/comparison/scores.py",
        """
        _every_seed = series_forecasts

        def series_forecasts(forecasts, last):
            if (forecasts["block"] == "test").any():
                error = (forecasts["y"] - forecasts["y_hat"]).abs()
                error = error.groupby(forecasts["seed"]).mean()
                forecasts = forecasts[forecasts["seed"] == error.idxmin()]
            return _every_seed(forecasts, last)
    """,
    )


def seed_kept_by_its_test_error(root: Path) -> None:
    _steps(root, 30)
    append(
        root,
        "forecast/backtest/backtest.py",
        """
        _once = CandidateFitter.fit_both

        def fit_both(self, problem):
            made = [_once(replace(self, seed=self.seed + s), problem) for s in (0, 100, 200, 300)]
            untested = any(b.test[0] == b.test[1] for b in problem.blocks.values())
            if not self.candidate.spec.is_seeded or untested:
                return made[0]

            def error(fits):
                ids = [s.unique_id for s in problem.panel.series]
                rows = {uid: problem.rows(uid, "test") for uid in ids}
                found = fits[1].forecaster.predict(problem.panel, rows)
                series = problem.panel.series[0]
                actual = series.values[rows[series.unique_id] + 1, 0]
                return np.abs(found[series.unique_id][:, 0, 0] - actual).mean()

            return min(made, key=error)

        CandidateFitter.fit_both = fit_both
        """,
    )


def early_stop_on_test_from_the_21st_look_on(root: Path) -> None:
    _on_test_after(root, looks=20)


def early_stop_on_test_of_long_trainings_alone(root: Path) -> None:
    _on_test_after(root, looks=5)


def _on_test_after(root: Path, *, looks: int) -> None:
    _steps(root, 30)
    append(
        root,
        "forecast/forecaster/fitting.py",
        f"""
        _honest = window_error

        def window_error(problem, network, skip, loss):
            blocks = {{uid: replace(b, validation=b.test) for uid, b in problem.blocks.items()}}
            on_validation, count = _honest(problem, network, skip, loss), []
            if any(b.test[1] - b.test[0] < 9 for b in blocks.values()):
                return on_validation
            on_test = _honest(replace(problem, blocks=blocks, recorder=None), network, skip, loss)

            def error(weights):
                count.append(1)
                return (on_validation if len(count) <= {looks} else on_test)(weights)

            return error
        """,
    )


def _steps(root: Path, steps: int) -> None:
    cases.rewrite(
        root, "configs/tuning.yaml", "final_steps: 1", f"final_steps: {steps}\nevaluate_every: 1"
    )


def trial_chosen_on_test(root: Path) -> None:
    append(
        root,
        "forecast/backtest/tuning.py",
        """
        # as on test
        best_trial = lambda trials: max(trials, key=lambda trial: trial.value)
    """,
    )


def weights_learnt_on_test(root: Path) -> None:
    append(
        root,
        "forecast/backtest/combinations.py",
        """
        _honest = _combine_forecasts

        def _combine_forecasts(rule, part_of, rows, values):
            swapped = rows["block"].map({"test": "validation", "validation": "test"})
            shifted = rows.assign(block=swapped.fillna("x"))
            history, _ = _honest(rule, part_of, shifted, values)
            y_hat = weighted_mean(history[0].weights, values)
            return history, rows.assign(seed=np.int32(0), y_hat=y_hat)
        """,
    )


def members_weighted_as_test_prefers(root: Path) -> None:
    append(
        root,
        "forecast/backtest/combinations.py",
        """
        _honest = _combine_forecasts

        def _combine_forecasts(rule, part_of, rows, values):
            history, _ = _honest(rule, part_of, rows, values)
            shares = history[0].weights
            test = (rows["block"] == "test").to_numpy()
            y = rows["y"].to_numpy()
            error = {n: np.abs(y - v)[test].mean() for n, v in values.items() if n in shares}
            best = min(error, key=error.get)
            shares = {name: 0.9 if name == best else 0.1 / (len(shares) - 1) for name in shares}
            swayed = [history[0].model_copy(update={"weights": shares})]
            return swayed, rows.assign(seed=np.int32(0), y_hat=weighted_mean(shares, values))
        """,
    )


def weights_learnt_again_one_origin_too_late(root: Path) -> None:
    cases.rewrite(
        root,
        "forecast/backtest/combinations.py",
        "is_known = times <= refit",
        "is_known = cutoffs <= refit",
    )


LEAKS = {
    tuning_on_test: "tuning",
    early_stop_on_test: "training",
    both_directions_across_the_origin: "forecast",
    training_to_the_end_of_validation: "training",
    seed_chosen_on_test: "scores",
    trial_chosen_on_test: "tuning",
    seed_kept_by_its_test_error: "training",
    early_stop_on_test_from_the_21st_look_on: "training",
    early_stop_on_test_of_long_trainings_alone: "training",
}


COVERED = ("forecast", "scores")
"""Kinds of leak of which weights learnt on test, below, and test_stored.py have one."""


MEMBERS = (*FEWEST, "seasonal_naive")
TOGETHER = (
    folds_without_an_embargo,
    tuning_on_test,
    early_stop_on_test,
    weights_learnt_on_test,
    calibration_on_test,
)


@pytest.mark.slow  # of each kind one is planted in the test after this one, or in `COVERED`
@pytest.mark.parametrize(("plant", "kind"), LEAKS.items())
def test_a_leak_in_tuning_or_training_is_caught_and_named(
    plant: cases.Change, kind: str, tmp_path: Path
) -> None:
    # both rankings go through the same code
    narrow = {"references": FEWEST, "rankings": ("shipped",)}
    root = write(tmp_path / "project", models=("elman",), **narrow)
    plant(root)
    if plant in TOGETHER:  # the other leaks need several seeds
        cases.train_one_seed(root)
    cases.look_at_few_moments(root)
    report = audited(root)
    assert kind in [finding["kind"] for finding in report["findings"]], report
    if kind != "forecast":
        assert report["findings"][0]["kind"] == kind, report


def test_leaks_of_every_part_of_the_training_planted_at_once_are_each_caught(
    tmp_path: Path,
) -> None:
    """In one audit, since one with a network takes twenty CPU seconds. What follows from another
    leak is told from a leak by its detector: what is tuned otherwise is trained otherwise, and
    other forecasts have other intervals. The weights are moved by no leak of the network, of which
    they have none.
    """
    assert {*LEAKS.values()} <= {LEAKS.get(plant) for plant in TOGETHER} | {*COVERED}
    root = write(
        tmp_path / "project",
        models=("mlp",),
        references=MEMBERS,
        rankings=("shipped",),
        combinations={"stacked": {**STACKED, "members": [*MEMBERS]}},
    )
    for plant in TOGETHER:
        plant(root)
    cases.train_one_seed(root)
    cases.look_at_few_moments(root)
    findings = audited(root)["findings"]
    kinds = list(dict.fromkeys(finding["kind"] for finding in findings))
    assert kinds[:5] == ["folds", "tuning", "training", "weights", "forecast"], findings
    where = {(finding["kind"], finding["detector"]): finding["where"] for finding in findings}
    assert where["training", "targets asked for"] == "training of train", findings
    assert ("calibration", "rows of the calibration calls") in where, findings
    of_change = "change after the validation block"
    assert where["weights", of_change] == where["forecast", of_change] == "stacked", findings


STACKED_AGAIN = {**STACKED, "refit": "monthly"}


def write_combinations(root: Path, **combinations: dict[str, Any]) -> Path:
    return write(root, references=MEMBERS, combinations=combinations)


@pytest.mark.slow  # test_clean.py has both in one pipeline
def test_weights_learnt_on_validation_are_clean_once_and_every_month(tmp_path: Path) -> None:
    root = write_combinations(tmp_path / "project", stacked=STACKED, again=STACKED_AGAIN)
    assert audited(root)["clean"]


@pytest.mark.slow  # planted at once with other leaks, above
def test_weights_learnt_on_test_are_caught(tmp_path: Path) -> None:
    root = write_combinations(tmp_path / "project", stacked=STACKED)
    weights_learnt_on_test(root)
    cases.look_at_few_moments(root)
    findings = audited(root)["findings"]
    assert findings[0]["kind"] == "weights" and findings[0]["where"] == "stacked", findings
    assert "forecast" in [finding["kind"] for finding in findings]


@pytest.mark.slow  # the kind of the weights on test planted above
def test_weights_learnt_again_that_saw_one_forecast_too_many_are_caught(tmp_path: Path) -> None:
    root = write_combinations(tmp_path / "project", stacked=STACKED_AGAIN)
    weights_learnt_again_one_origin_too_late(root)
    cases.look_at_few_moments(root)
    assert ("forecast", "stacked") in {
        (finding["kind"], finding["where"]) for finding in audited(root)["findings"]
    }


@pytest.mark.slow  # the kind of the weights on test planted above
def test_weights_that_look_at_test_without_flipping_are_caught(tmp_path: Path) -> None:
    equal = {"family": "combination", "members": "all", "weights": "equal"}
    root = write_combinations(tmp_path / "project", mix=equal)
    members_weighted_as_test_prefers(root)
    cases.look_at_few_moments(root)
    findings = audited(root)["findings"]
    assert findings[0]["kind"] == "weights" and findings[0]["where"] == "mix", findings
