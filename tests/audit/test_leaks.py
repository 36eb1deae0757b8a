"""Leaks planted in a copy of the code or the data; the audit gets no hint, and names each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.audit import cases
from tests.audit.cases import (
    FEWEST,
    KINDS_OF_THE_DATA,
    append,
    audited,
    change_series,
    derived,
    replace_data,
    take,
    wave,
    write,
)


def scaler_on_all_data(root: Path) -> None:
    append(
        root,
        "forecast/data/scaling.py",
        """
        from dataclasses import replace as _replace

        _fit = Scaling.fit.__func__

        def _on_all(cls, panel, blocks):
            rows = {
                s.unique_id: _replace(blocks[s.unique_id], train=(0, len(s)))
                for s in panel.series
            }
            return _fit(cls, panel, rows)

        Scaling.fit = classmethod(_on_all)
    """,
    )


def centred_rolling_feature(root: Path) -> None:
    derived(root, 'frame["x"] = frame["y"].rolling(5, center=True, min_periods=1).mean()')


def target_in_the_inputs_by_code(root: Path) -> None:
    derived(root, 'frame["x"] = frame["y"].shift(-1).fillna(frame["x"])')


def target_in_the_inputs_of_the_file(root: Path) -> None:
    frame = wave()
    frame["x"] = 2.5 * frame["y"].shift(-1) + np.random.default_rng(1).normal(0, 0.05, len(frame))
    replace_data(root, frame)


def centred_mean_in_the_file(root: Path) -> None:
    frame = wave()
    frame["x"] = frame["y"].rolling(7, center=True).mean()
    replace_data(root, frame)


def shuffled_split(root: Path) -> None:
    append(
        root,
        "forecast/data/splits.py",
        """
        _origins = origins

        def origins(blocks, block, *, horizon, lookback, step_size=1):
            rows = _origins(blocks, block, horizon=horizon, lookback=lookback, step_size=step_size)
            if block != "train":
                return rows
            everything = np.arange(lookback - 1, blocks.test[1] - horizon)
            return np.sort(np.random.default_rng(0).permutation(everything)[: len(rows)])
    """,
    )


def targets_across_the_border(root: Path) -> None:
    append(
        root,
        "forecast/data/splits.py",
        """
        _origins = origins

        def origins(blocks, block, *, horizon, lookback, step_size=1):
            rows = _origins(blocks, block, horizon=horizon, lookback=lookback, step_size=step_size)
            return np.append(rows, rows[-1] + 1) if block == "train" else rows
    """,
    )


def gap_filled_backwards(root: Path) -> None:
    change_series(root, "{'values': pd.DataFrame(series.values).bfill().to_numpy()}")


def known_future_made_of_actuals(root: Path) -> None:
    actuals = "series.values[:, :1] / 100, series.future[len(series) :, :1]"
    future = f"np.hstack([np.vstack([{actuals}]), series.future[:, 1:]])"
    change_series(root, f"{{'future': {future}}}")


def revised_history(root: Path) -> None:
    frame = wave()
    take(root, frame.iloc[:300], as_of="2024-10-27")
    frame.loc[120:180, "y"] += 0.5
    take(root, frame, as_of="2024-11-16")


def calibration_on_test(root: Path) -> None:
    append(
        root,
        "forecast/comparison/intervals.py",
        """
        from dataclasses import replace

        _true_blocks = _candidate_blocks

        def _candidate_blocks(candidate, *about):
            found = {**candidate.blocks, "calibration": candidate.blocks["test"]}
            return _true_blocks(replace(candidate, blocks=found), *about)
    """,
    )


def windows_one_row_late(root: Path) -> None:
    append(
        root,
        "forecast/data/windows.py",
        """
        _gather = gather_windows

        def gather_windows(z, future, rows, channels, *, lookback, horizon, unique_id=""):
            after = np.minimum(rows + 1, len(z) - 1)
            later = _gather(z, future, after, channels, lookback=lookback, horizon=horizon)
            exact = _gather(
                z,
                future,
                rows,
                channels,
                lookback=lookback,
                horizon=horizon,
                unique_id=unique_id,
            )
            return Windows(exact.z, later.past, exact.future, exact.last, exact.rows, exact.series)
    """,
    )


def smoothed_series(root: Path) -> None:
    derived(
        root,
        """
        spectrum = np.fft.rfft(frame["y"].to_numpy())
        spectrum[len(spectrum) // 2 :] = 0
        frame["y"] = np.fft.irfft(spectrum, len(frame))
    """,
    )


def penalty_chosen_on_test(root: Path) -> None:
    append(
        root,
        "forecast/models/problem.py",
        """
        _folds = Problem.folds

        def _until_test(self, *asked):
            blocks = {
                u: replace(own, validation=(own.validation[0], own.test[1]))
                for u, own in self.blocks.items()
            }
            return _folds(replace(self, blocks=blocks), *asked)

        Problem.folds = _until_test
    """,
    )


def test_rows_copied_into_train(root: Path) -> None:
    frame = wave()
    frame.loc[20:59, ["y", "x"]] = frame.loc[270:309, ["y", "x"]].to_numpy()
    replace_data(root, frame)


test_rows_copied_into_train.__test__ = False


def position_from_the_end_as_a_feature(root: Path) -> None:
    derived(root, 'frame["x"] = np.arange(len(frame)) / len(frame)')


def joined_with_the_next_known_value(root: Path) -> None:
    cases.join(root)
    append(
        root,
        "forecast/data/columns.py",
        """
        _exact = pd.merge_asof


        class _Forwards:
            def __getattr__(self, name):
                return getattr(pd_, name)

            def merge_asof(self, *frames, **options):
                return _exact(*frames, **{**options, "direction": "forward"})


        pd_, pd = pd, _Forwards()
    """,
    )


def chosen_on_test(root: Path) -> None:
    append(
        root,
        "forecast/comparison/losses.py",
        """
        def select_models(validation, learnt=()):
            # as if the test block had favoured it
            return {"shipped": "naive", "architecture": "naive"}
    """,
    )
    append(
        root,
        "forecast/comparison/__init__.py",
        "from forecast.comparison.losses import select_models",
    )


def error_scale_from_the_test_block(root: Path) -> None:
    append(
        root,
        "forecast/comparison/scores.py",
        """
        _exact = reference_of_block

        def reference_of_block(frame, naive, dataset, borders, block):
            later = frame[frame["ds"] > borders.calibration_end]
            found = _exact(frame, naive, dataset, borders, block)
            scale = {
                str(u): metrics.insample_scale(r["y"], season_length=1)
                for u, r in later.groupby("unique_id")
            }
            return Reference(scale, scale, found.last, found.naive_error_by_step, found.naive_error)
    """,
    )


def forecasts_corrected_by_test_errors(root: Path) -> None:
    append(
        root,
        "forecast/backtest/backtest.py",
        """
        _exact = forecast_blocks

        def forecast_blocks(forecaster, problem, seed):
            table = _exact(forecaster, problem, seed)
            bias = (table["y"] - table["y_hat"])[table["block"] == "test"].mean()
            return table.assign(y_hat=table["y_hat"] + bias)
    """,
    )


def sign_of_the_next_change_in_the_file(root: Path) -> None:
    frame = wave()
    frame["x"] = (frame["y"].shift(-1) > frame["y"]).astype(float)
    replace_data(root, frame)


def a_dozen_test_rows_copied_into_train(root: Path) -> None:
    frame = wave()
    frame.loc[20:33, ["y", "x"]] = frame.loc[270:283, ["y", "x"]].to_numpy()
    replace_data(root, frame)


def sign_of_the_next_change_as_a_feature(root: Path) -> None:
    derived(
        root,
        """
        rises = (frame["y"].shift(-1) > frame["y"]).astype(float)
        frame["x"] = frame["x"].where(frame["ds"].dt.dayofweek > 1, rises)
    """,
    )


def scored_on_the_easier_half(root: Path) -> None:
    append(
        root,
        "forecast/comparison/scores.py",
        """
        _all_scores = series_scores

        def series_scores(found, reference):
            return pd.concat([_of_the_easier(cube, reference) for cube in found], ignore_index=True)

        def _of_the_easier(cube, reference):
            hard = np.abs(cube.y - cube.y_hat.mean(axis=0)).mean(axis=1)
            easy = hard <= np.median(hard)
            about = (cube.last[easy], cube.seeds, cube.cutoffs[easy], cube.volatility[easy])
            about = (*about, cube.ds[easy])
            part = ForecastCube(cube.series, cube.y[easy], cube.y_hat[:, easy], *about)
            return _all_scores([part], reference).assign(n_origins=len(cube.y))
    """,
    )


def scored_against_the_value_before(root: Path) -> None:
    append(
        root,
        "forecast/backtest/backtest.py",
        """
        _exact_table = forecast_table

        def forecast_table(panel, scaling, parts, seed):
            steps = np.arange(panel.task.horizon)
            y = [
                panel.by_id[uid].values[cutoff_rows[:, None] + steps, :1].ravel()
                for _, uid, cutoff_rows, _ in parts
            ]
            table = _exact_table(panel, scaling, parts, seed)
            return table.assign(y=np.concatenate(y))
    """,
    )


def every_second_origin(root: Path) -> None:
    append(
        root,
        "forecast/models/problem.py",
        """
        _rows = Problem.rows

        def _second(self, uid, block):
            return _rows(self, uid, block)[:: 2 if block == "test" else 1]

        Problem.rows = _second
    """,
    )


def test_scores_in_the_place_of_validation(root: Path) -> None:
    append(
        root,
        "forecast/comparison/scores.py",
        """
        from dataclasses import replace

        _own = _score_candidate

        def _score_candidate(record, forecasts, on_test, on_validation):
            found = _own(record, forecasts, on_test, on_validation)
            if found.board is None:
                return found
            return replace(found, board=found.board.assign(validation_mase=found.board["mase"]))
    """,
    )


test_scores_in_the_place_of_validation.__test__ = False


def volatility_of_the_rows_to_come(root: Path) -> None:
    append(
        root,
        "forecast/forecaster/intervals.py",
        """
        _before = volatility

        def volatility(values, rows, task):
            later = np.minimum(np.asarray(rows) + task.horizon, len(values) - 1)
            return _before(values, later, task)
    """,
    )


def widths_against_the_volatility_of_the_test_block(root: Path) -> None:
    append(
        root,
        "forecast/comparison/intervals.py",
        """
        import dataclasses

        _own = _stack

        def _stack(numbers, levels, blocks):
            seen = {cube.series: cube.volatility.mean() for cube in blocks.test}
            moved = [
                dataclasses.replace(cube, volatility=cube.volatility + seen[cube.series])
                for cube in blocks.calibration
            ]
            return _own(numbers, levels, dataclasses.replace(blocks, calibration=moved))
    """,
    )


def snapshot_read_behind_the_panel(root: Path) -> None:
    append(
        root,
        "forecast/forecaster/forecaster.py",
        """
        import pandas as pd

        _honest = Forecaster.predict

        def _peeking(self, panel, rows):
            found = _honest(self, panel, rows)
            place = Path(__file__).parents[2] / "data" / "snapshots"
            actual = pd.read_parquet(next(place.glob("*/*.parquet"))).set_index("ds")["y"]
            for uid, values in found.items():
                for number, row in enumerate(rows[uid]):
                    ahead = pd.date_range(panel.by_id[uid].ds[row], periods=values.shape[1] + 1)[1:]
                    values[number, :, 0] = actual.reindex(ahead).fillna(values[number, 0, 0])
            return found

        Forecaster.predict = _peeking
    """,
    )


def scaler_of_all_rows_kept_in_memory(root: Path) -> None:
    append(
        root,
        "forecast/data/scaling.py",
        """
        from dataclasses import replace as _replace

        _fit, _kept = Scaling.fit.__func__, {}

        def _once(cls, panel, blocks):
            if panel.name not in _kept:
                rows = {
                    s.unique_id: _replace(blocks[s.unique_id], train=(0, len(s)))
                    for s in panel.series
                }
                _kept[panel.name] = _fit(cls, panel, rows)
            return _kept[panel.name]

        Scaling.fit = classmethod(_once)
    """,
    )


def hard_days_of_the_test_block_left_out(root: Path) -> None:
    cases.change_dataset(root, target={"column": "y", "max_missing": 0.1})
    derived(
        root,
        """
        hard = (frame["ds"] > pd.Timestamp("2024-09-15")) & (frame["y"].diff().abs() > 5)
        frame["y"] = frame["y"].mask(hard)
    """,
    )


def known_a_day_before_its_end(root: Path) -> None:
    cases.join(root)
    path = root / "configs" / "datasets.yaml"
    days = "{kind: weekdays, days: [mon, tue, wed, thu, fri, sat, sun]}"
    content = yaml.safe_load(path.read_text())
    content["datasets"]["other"]["calendar"] = yaml.safe_load(days)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    append(
        root,
        "forecast/data/calendars.py",
        """
        _at_the_end = known_from

        def known_from(calendar, ds):
            known = _at_the_end(calendar, ds)
            return known - pd.Timedelta(1, "D") if isinstance(calendar, WeekdayCalendar) else known
    """,
    )


def fridays_that_read_the_weekend(root: Path) -> None:
    weekdays = {"kind": "regular", "freq": "B"}
    cases.change_dataset(root, calendar=weekdays, season_length=5)
    observed = wave()[["ds", "y"]]
    cases.join(root, observed[observed["ds"].dt.day_of_week < 5])
    append(root, "forecast/data/columns.py", "read_until = known_from")


def refitted_on_what_comes_later(root: Path) -> None:
    path = root / "configs" / "models.yaml"
    content = yaml.safe_load(path.read_text())
    content["models"]["theta"] = {"family": "theta", "refit": "monthly"}
    content["grids"]["tiny"].append("theta")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    append(
        root,
        "forecast/backtest/timeline.py",
        """
        def problem_at(schedule, problem, cutoff):
            blocks = {
                uid: Blocks((0, b.test[1]), *[(b.test[1],) * 2] * 3)
                for uid, b in problem.blocks.items()
            }
            return replace(problem, blocks=blocks)

        RefitSchedule.problem_at = problem_at
    """,
    )


def power_of_the_volatility_chosen_by_test_scores(root: Path) -> None:
    append(
        root,
        "forecast/comparison/intervals.py",
        """
        _plain = interval_scores

        def interval_scores(blocks, levels):
            from forecast.forecaster import intervals

            scores = {}
            for intervals.POWER in (0.25, 0.5, 1.0):
                scores[intervals.POWER] = _plain(blocks, levels)[0]["winkler"].mean()
            intervals.POWER = min(scores, key=scores.get)
            return _plain(blocks, levels)
        """,
    )


def moved_by_their_own_mean_test_error(root: Path) -> None:
    append(
        root,
        "forecast/backtest/backtest.py",
        """
        _exact = forecast_blocks

        def forecast_blocks(fits, problem, seed):
            table = _exact(fits, problem, seed)
            test = table["block"] == "test"
            learnt = fits.fits[0].forecaster.spec.family != "naive"
            bias = (table["y"] - table["y_hat"])[test].mean() * learnt
            return table.assign(y_hat=table["y_hat"] + bias * test)
        """,
    )


def joined_with_the_nearest_value(root: Path) -> None:
    cases.join(root)
    cases.rewrite(
        root, "forecast/data/columns.py", 'on="known",', 'on="known", direction="nearest",'
    )


def scaler_of_all_rows_from_the_twentieth_call_on(root: Path) -> None:
    append(
        root,
        "forecast/data/scaling.py",
        """
        from dataclasses import replace as _replace

        _fit, _calls = Scaling.fit.__func__, []

        def _later(cls, panel, blocks):
            _calls.append(panel.name)
            rows = {
                s.unique_id: _replace(blocks[s.unique_id], train=(0, len(s)))
                for s in panel.series
            }
            return _fit(cls, panel, rows if len(_calls) >= 20 else blocks)

        Scaling.fit = classmethod(_later)
        """,
    )


def interpolated_inside_the_longest_gaps(root: Path) -> None:
    before = "pd.DataFrame(series.values).ffill(limit=2)"
    between = f"{before}.interpolate(limit_area='inside').to_numpy()"
    change_series(root, f"{{'values': {between}}}")


def margins_from_errors_that_are_not_known_yet(root: Path) -> None:
    append(
        root,
        "forecast/forecaster/intervals.py",
        """
        _in_time = SplitConformal.followed_by

        def _at_once(self, y, y_hat, difficulty, *, step_size):
            return _in_time(self, y, y_hat, difficulty, step_size=1000)

        SplitConformal.followed_by = _at_once
    """,
    )


def calibrated_on_the_first_test_origins_too(root: Path) -> None:
    append(
        root,
        "forecast/comparison/intervals.py",
        """
        from dataclasses import replace

        _true_blocks = _candidate_blocks

        def _candidate_blocks(candidate, *about):
            pairs = zip(candidate.blocks["calibration"], candidate.blocks["test"], strict=True)
            found = {**candidate.blocks, "calibration": tuple(_with_first(*pair) for pair in pairs)}
            return _true_blocks(replace(candidate, blocks=found), *about)

        def _with_first(cube, later):
            y, y_hat = np.vstack([cube.y, later.y[:5]]), np.hstack([cube.y_hat, later.y_hat[:, :5]])
            last = np.append(cube.last, later.last[:5])
            before = np.append(cube.volatility, later.volatility[:5])
            ds = np.vstack([cube.ds, later.ds[:5]])
            return replace(cube, y=y, y_hat=y_hat, last=last, volatility=before, ds=ds)
        """,
    )


def coarse_means_by_month_over_all_rows(root: Path) -> None:
    derived(
        root, 'frame["x"] = frame.groupby(frame["ds"].dt.month)["y"].transform("mean").round(1)'
    )


def refit_that_knows_the_day_after(root: Path) -> None:
    refitted_on_what_comes_later(root)
    path = root / "forecast" / "backtest" / "timeline.py"
    code = path.read_text()
    code = code[: code.rindex("def problem_at")]
    path.write_text(code)
    append(
        root,
        "forecast/backtest/timeline.py",
        """
        _known = RefitSchedule.problem_at

        def problem_at(schedule, problem, cutoff):
            return _known(schedule, problem, cutoff + np.timedelta64(1, "D"))

        RefitSchedule.problem_at = problem_at
        """,
    )


def runner_up_chosen_where_test_prefers_it(root: Path) -> None:
    append(
        root,
        "forecast/comparison/comparing.py",
        """
        _losses, _first = block_losses, select_models
        _test = {}

        def block_losses(scored, scale, block):
            _test.update(_losses(scored, scale, "test").groupby("model")["loss"].mean())
            return _losses(scored, scale, block)

        def select_models(validation, learnt=()):
            own = validation.mean().groupby("model").mean().nsmallest(2)
            return {
                ranking: min(own.index, key=_test.__getitem__)
                for ranking in _first(validation, learnt)
            }
        """,
    )


def folds_without_an_embargo(root: Path) -> None:
    cases.rewrite(
        root,
        "forecast/models/problem.py",
        "(rows <= begin - before) | (rows >= end + after)",
        "(rows < begin) | (rows >= end)",
    )


WITHOUT_TRAINING = {
    scaler_on_all_data: "scaling",
    centred_rolling_feature: "features",
    target_in_the_inputs_by_code: "target",
    target_in_the_inputs_of_the_file: "target",
    centred_mean_in_the_file: "column",
    shuffled_split: "blocks",
    targets_across_the_border: "blocks",
    gap_filled_backwards: "gap",
    known_future_made_of_actuals: "known future",
    revised_history: "history",
    calibration_on_test: "calibration",
    windows_one_row_late: "forecast",
    smoothed_series: "features",
    penalty_chosen_on_test: "skip",
    folds_without_an_embargo: "folds",
    test_rows_copied_into_train: "repeated",
    position_from_the_end_as_a_feature: "features",
    joined_with_the_next_known_value: "features",
    chosen_on_test: "choice",
    error_scale_from_the_test_block: "scores",
    forecasts_corrected_by_test_errors: "forecast",
    sign_of_the_next_change_in_the_file: "column",
    a_dozen_test_rows_copied_into_train: "repeated",
    sign_of_the_next_change_as_a_feature: "features",
    scored_on_the_easier_half: "scores",
    scored_against_the_value_before: "origins",
    every_second_origin: "origins",
    test_scores_in_the_place_of_validation: "choice",
    volatility_of_the_rows_to_come: "forecast",
    widths_against_the_volatility_of_the_test_block: "calibration",
    snapshot_read_behind_the_panel: "beside",
    scaler_of_all_rows_kept_in_memory: "scaling",
    hard_days_of_the_test_block_left_out: "actuals",
    known_a_day_before_its_end: "features",
    fridays_that_read_the_weekend: "features",
    refitted_on_what_comes_later: "forecast",
    power_of_the_volatility_chosen_by_test_scores: "calibration",
    moved_by_their_own_mean_test_error: "forecast",
    joined_with_the_nearest_value: "features",
    scaler_of_all_rows_from_the_twentieth_call_on: "scaling",
    interpolated_inside_the_longest_gaps: "gap",
    calibrated_on_the_first_test_origins_too: "calibration",
    margins_from_errors_that_are_not_known_yet: "calibration",
    coarse_means_by_month_over_all_rows: "features",
    refit_that_knows_the_day_after: "forecast",
    runner_up_chosen_where_test_prefers_it: "choice",
}


COVERED = (
    *KINDS_OF_THE_DATA,
    "calibration",
    "choice",
    "features",
    "folds",
    "forecast",
    "known future",
    "scores",
    "skip",
)
"""Kinds that test_stored.py has in the results of a run; features and what is known ahead are told
by the comparison that tells a gap filled backwards, skips by the one that tells scalings. Folds,
forecasts and calibration are among the leaks that test_training_leaks.py plants at once.
"""


TOGETHER = (
    (
        snapshot_read_behind_the_panel,
        scored_against_the_value_before,
        gap_filled_backwards,
        scaler_on_all_data,
    ),
    (shuffled_split, hard_days_of_the_test_block_left_out),
)
"""Leaks planted at once, in the order of causes, since an audit takes ten CPU seconds. Alone, none
of them has the kind of another one named (`test_a_planted_leak_is_caught_and_named`).
"""


def kinds_found(root: Path, plants: Sequence[cases.Change]) -> list[str]:
    """The kinds that an audit names of a project with these leaks, in its order."""
    write(root, references=FEWEST)
    for plant in plants:
        plant(root)
    cases.look_at_few_moments(root)
    findings = audited(root)["findings"]
    assert all(finding["detector"] and finding["text"] for finding in findings)
    return list(dict.fromkeys(finding["kind"] for finding in findings))


def test_each_kind_of_leak_is_planted_here_or_covered_elsewhere() -> None:
    planted = [WITHOUT_TRAINING[plant] for plants in TOGETHER for plant in plants]
    assert len(planted) == len({*planted})
    assert {*planted, *COVERED} == {*WITHOUT_TRAINING.values()}


@pytest.mark.parametrize(
    "plants", TOGETHER, ids=[", ".join(plant.__name__ for plant in plants) for plants in TOGETHER]
)
def test_leaks_planted_at_once_are_all_caught_and_named_before_what_follows_from_them(
    plants: Sequence[cases.Change], tmp_path: Path
) -> None:
    kinds = kinds_found(tmp_path / "project", plants)
    assert kinds[: len(plants)] == [WITHOUT_TRAINING[plant] for plant in plants], kinds


@pytest.mark.slow  # of each kind one is among those planted at once
@pytest.mark.parametrize("plant", WITHOUT_TRAINING, ids=lambda plant: plant.__name__)
def test_a_planted_leak_is_caught_and_named(plant: cases.Change, tmp_path: Path) -> None:
    kinds = kinds_found(tmp_path / "project", [plant])
    # causes stand first, so what is named first is the leak that was planted
    assert kinds[:1] == [WITHOUT_TRAINING[plant]], kinds
    others = {WITHOUT_TRAINING[other] for plants in TOGETHER if plant in plants for other in plants}
    assert not others.intersection(kinds[1:]), kinds
