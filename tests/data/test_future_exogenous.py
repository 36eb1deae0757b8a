"""Inputs over the horizon: columns known ahead by declaration, and forecasts kept with the time of
their issue.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.audit.changes import restore_plans, shake, thin_out
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.data import panel, preparation, quality, snapshots, sources, splits, vintages
from forecast.data.columns import add_known_ahead, trim_to_observed
from forecast.data.ingest import fetch_snapshot
from forecast.data.panel import Panel
from forecast.data.roles import describe_roles
from forecast.data.sources import Request
from forecast.data.windows import find_hole_of_plan, layout
from forecast.forecaster import Budget, Forecaster, Problem, fit
from forecast.models import spec
from forecast.system.errors import InputError
from tests.support import problems

HORIZON, ROWS = 4, 1200
ENTRY: dict[str, Any] = {
    "title": "A shop",
    "source": {"kind": "file", "path": "data/shop.csv"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "target": {"column": "sales"},
    "calendar_features": ["hour_of_day"],
    "horizon": HORIZON,
    "lookback": 12,
    "season_length": 1,
    "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1},
    "licence": {"name": "none", "attribution": "made for a test"},
}
HOLIDAY = {"column": "holiday", "known_ahead": True}


def dataset(**changes: Any) -> Dataset:
    return validate_config(
        Dataset, {**ENTRY, "future_exogenous": [HOLIDAY], **changes}, where="shop"
    )


def shop(plan: int = HORIZON) -> pd.DataFrame:
    """Sales that a holiday lifts by 5, and `plan` more rows that hold the holidays alone."""
    rng = np.random.default_rng(0)
    holiday = (rng.random(ROWS + plan) < 0.2).astype(float)
    sales = 10 + 5 * holiday + rng.normal(0, 0.5, ROWS + plan)
    sales[ROWS:] = np.nan
    ds = pd.date_range("2024-01-01", periods=ROWS + plan, freq="h").as_unit("ns")
    return pd.DataFrame({"unique_id": "shop", "ds": ds, "sales": sales, "holiday": holiday})


def prepared(raw: pd.DataFrame, settings: Dataset, issues: pd.DataFrame | None = None) -> Panel:
    whole = add_known_ahead(raw, settings)
    whole = vintages.add_issued(whole, settings, pd.DataFrame() if issues is None else issues)
    return panel.from_frame(
        preparation.prepare(whole, settings, where="data/shop.csv")[0], "shop", settings.task
    )


def problem_of(known: Panel, settings: Dataset) -> Problem:
    return Problem.of(known, splits.resolve_borders(known, settings.splits))


def fitted(problem: Problem, **entry: Any) -> Forecaster:
    entry_spec = spec(entry, where="test")
    return fit(
        problem,
        entry_spec,
        skip="linear" if entry_spec.has_skip else None,
        seed=0,
        budget=Budget(20, 10),
    ).forecaster


def test_error(forecaster: Forecaster, known: Panel, problem: Problem) -> float:
    (series,) = known.series
    rows = problem.rows(series.unique_id, "test")
    actual = series.values[rows[:, None] + np.arange(1, HORIZON + 1), 0]
    return float(
        np.abs(
            forecaster.predict(known, {series.unique_id: rows})[series.unique_id][:, :, 0] - actual
        ).mean()
    )


test_error.__test__ = False  # type: ignore[attr-defined]


def test_a_column_known_ahead_stands_at_each_row_with_its_values_of_the_horizon() -> None:
    raw = shop()
    known = prepared(raw, dataset())
    (series,) = known.series
    assert len(series) == ROWS  # rows with a plan alone are no rows of the series
    for step in range(1, HORIZON + 1):
        np.testing.assert_array_equal(
            series.values[:, step], raw["holiday"].to_numpy()[step : ROWS + step]
        )
    assert [column.step for column in known.task.future_steps] == [1, 2, 3, 4]
    assert layout(known.task).step == (0, 1, 2, 3, 4)
    assert layout(known.task).future_channels == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "entry",
    [
        {"family": "ridge"},
        {"family": "arx"},
        {
            "family": "sklearn",
            "base": "last",
            "rows": 1000,
            "options": {"n_estimators": 60, "learning_rate": 0.2},
        },
        {"family": "mlp", "lags": 4, "units": 8, "learning_rate": 0.01},
    ],
    ids=lambda entry: entry["family"],
)
def test_skip_loops_regressors_and_networks_use_it(entry: dict[str, Any]) -> None:
    """A holiday lifts sales by 5 in one hour of five: not to know when costs a mean error of 1.6,
    noise one of 0.4.
    """
    settings = dataset()
    known = prepared(shop(), settings)
    problem = problem_of(known, settings)
    assert test_error(fitted(problem, **entry), known, problem) < 0.7


def test_a_forecast_from_the_last_row_knows_the_plan_and_refuses_to_go_without_it() -> None:
    settings = dataset()
    forecaster = fitted(problem_of(prepared(shop(), settings), settings), family="ridge")
    raw = shop()
    y_hat = problems.latest(forecaster, prepared(raw, settings))["shop"][:, 0]
    np.testing.assert_allclose(y_hat, 10 + 5 * raw["holiday"].to_numpy()[ROWS:], atol=1.0)
    with pytest.raises(
        InputError,
        match="'holiday' has no value at 2024-02-20T02:00, 3 steps after the last observation",
    ):
        problems.latest(forecaster, prepared(shop(plan=2), settings))


def test_a_missing_value_and_a_missing_row_of_a_plan_in_the_past_are_gaps_like_any_other() -> None:
    settings, raw = dataset(target={"column": "sales", "max_missing": 0.1}), shop()
    raw.loc[[300, 700, 701, ROWS - 2], "holiday"] = np.nan
    known = prepared(raw.drop(index=[500, 501]), settings)
    values = known.series[0].values
    assert np.isnan(values[299, 1]) and np.isnan(values[698, 2])
    assert np.isnan(values[499, 1]) and np.isnan(values[498, 2])
    problem = problem_of(known, settings)
    for entry in ({"family": "ridge"}, {"family": "mlp", "lags": 4, "units": 8}):
        forecaster = fitted(problem, **entry)
        assert test_error(forecaster, known, problem) < 0.7
        assert np.isfinite(problems.latest(forecaster, known)["shop"]).all()


def test_a_value_or_a_row_that_is_missing_in_the_horizon_is_refused_with_its_row() -> None:
    settings, raw = dataset(), shop()
    forecaster = fitted(problem_of(prepared(raw, settings), settings), family="ridge")
    without_value = raw.assign(holiday=raw["holiday"].mask(raw.index == ROWS + 1))
    for broken in (without_value, raw.drop(index=ROWS + 1)):
        with pytest.raises(InputError, match="'holiday' has no value at 2024-02-20T01:00, 2 steps"):
            problems.latest(forecaster, prepared(broken, settings))


def test_of_several_plans_the_first_missing_time_is_that_of_the_one_that_ends_first() -> None:
    plans = [HOLIDAY, {"column": "offer", "known_ahead": True}]
    settings = dataset(future_exogenous=plans)
    raw = shop().assign(offer=1.0)
    raw.loc[ROWS + 3, "holiday"] = np.nan
    raw.loc[ROWS + 1 :, "offer"] = np.nan
    hole = find_hole_of_plan(settings.task, prepared(raw, settings).series[0])
    assert hole is not None and hole[0] == pd.Timestamp("2024-02-20T01:00")
    assert "'offer' has no value at 2024-02-20T01:00, 2 steps after" in hole[1]


def test_a_plan_that_ends_before_the_observations_is_missed_at_the_forecast() -> None:
    settings, raw = dataset(), shop()
    forecaster = fitted(problem_of(prepared(raw, settings), settings), family="ridge")
    raw.loc[ROWS - 3 :, "holiday"] = np.nan
    with pytest.raises(InputError, match="'holiday' has no value at 2024-02-20T00:00, 1 step"):
        problems.latest(forecaster, prepared(raw, settings))


@pytest.mark.parametrize("given", [{}, {"known_ahead": True, "issued": True}])
def test_a_future_input_must_be_declared_as_known(given: dict[str, bool]) -> None:
    with pytest.raises(InputError, match="state one of `known_ahead: true`"):
        dataset(future_exogenous=[{"column": "holiday", **given}])


def test_the_target_is_not_known_ahead_and_a_column_is_given_once() -> None:
    with pytest.raises(InputError, match="future_exogenous 'sales' is the target, not known ahead"):
        dataset(future_exogenous=[{"column": "sales", "known_ahead": True}])
    with pytest.raises(InputError, match="'holiday', 'holiday'; wanted each name once"):
        dataset(future_exogenous=[HOLIDAY, HOLIDAY])
    # as an input of the past too it is no observation
    past = dataset(past_exogenous=[{"column": "holiday"}])
    assert len(prepared(shop(), past).series[0]) == ROWS


def test_what_no_source_keeps_forecasts_of_cannot_be_issued() -> None:
    with pytest.raises(InputError, match="no forecasts of 'holiday' are kept"):
        dataset(future_exogenous=[{"column": "holiday", "issued": True}])


def test_the_audit_leaves_plans_over_the_horizon_and_changes_what_lies_behind() -> None:
    raw, settings = shop(), dataset(target={"column": "sales", "max_missing": 0.1})
    moment = raw["ds"].iloc[700]
    end = moment + pd.Timedelta(HORIZON, "h")
    before, plans = prepared(raw, settings).series[0].values[:701], raw.set_index("ds")["holiday"]
    for change in (shake, thin_out):
        changed = restore_plans(
            change(trim_to_observed(raw, settings), moment), raw, settings, moment
        )
        assert changed.set_index("ds")["holiday"].loc[:end].equals(plans.loc[:end])
        assert (
            not changed.set_index("ds")["holiday"]
            .loc[end + pd.Timedelta(1, "h") :]
            .equals(plans.loc[end:][1:])
        )
    shaken_rows = restore_plans(
        shake(trim_to_observed(raw, settings), moment), raw, settings, moment
    )
    np.testing.assert_array_equal(prepared(shaken_rows, settings).series[0].values[:701], before)


def test_a_fitted_model_is_given_rows_up_to_the_last_observation() -> None:
    """As `forecast predict` and `promote` read the data: by the columns of the model's task."""
    raw, settings = shop(plan=3 * HORIZON), dataset()
    (series,) = prepared(raw, settings.with_columns_of(settings.task)).series
    np.testing.assert_array_equal(series.values, prepared(raw, settings).series[0].values)


def test_what_is_looked_up_beside_a_plan_is_no_observation() -> None:
    issued_column = {"column": "sales", "max_missing": 0.1, "issued": True}
    settings = dataset(source=ISSUED, future_exogenous=[HOLIDAY, issued_column])
    raw = shop(plan=3 * HORIZON)
    issues = raw[["unique_id", "ds"]].assign(issued_at=raw["ds"].iloc[0], sales=1.0)
    assert len(prepared(raw, settings, issues).series[0]) == ROWS


def test_a_plan_changes_neither_age_nor_findings_of_the_data() -> None:
    settings, fresh = dataset(), pd.Timestamp("2024-02-20 00:00")
    assert preparation.last_observation(shop(plan=200), settings) == {
        "last": "2024-02-19T23:00:00",
        "known": fresh.isoformat(),
    }
    findings = quality.find_violations(
        preparation.adjusted_observations(shop(plan=200), settings), settings, as_of=fresh
    )
    assert findings == []
    late = quality.find_violations(
        preparation.adjusted_observations(shop(plan=200), settings),
        settings,
        as_of=fresh + pd.Timedelta("5h"),
    )
    assert [finding.rule for finding in late] == ["freshness"]


ISSUED = {
    "kind": "file",
    "path": "data/shop.csv",
    "issued_path": "data/issued.csv",
    "issued_columns": ["sales"],
}


def provider(raw: pd.DataFrame, sigma: float) -> pd.DataFrame:
    """Every six hours a forecast of the next 12, its error growing from sigma/2 to 3/2 sigma."""
    rng, parts = np.random.default_rng(7), []
    for row in range(0, len(raw) - 12, 6):
        steps = np.arange(1, 13)
        error = rng.normal(0, 1, 12) * sigma * (0.5 + steps / 12)
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": "shop",
                    "ds": raw["ds"].to_numpy()[row + steps],
                    "issued_at": raw["ds"].iloc[row] + pd.Timedelta(1, "h"),
                    "sales": raw["sales"].to_numpy()[row + steps] + error,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def persistent(rows: int = 3000) -> pd.DataFrame:
    """Sales that half forget themselves in three hours."""
    rng, y = np.random.default_rng(3), np.zeros(rows)
    for t in range(1, rows):
        y[t] = 0.8 * y[t - 1] + rng.normal(0, 1)
    ds = pd.date_range("2024-01-01", periods=rows, freq="h").as_unit("ns")
    return pd.DataFrame({"unique_id": "shop", "ds": ds, "sales": 20 + y})


@pytest.fixture(scope="module")
def error_alone() -> float:
    """That of a ridge on `persistent` sales without the provider's forecasts."""
    alone = dataset(future_exogenous=[])
    known = prepared(persistent(), alone)
    problem = problem_of(known, alone)
    return test_error(fitted(problem, family="ridge"), known, problem)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0, 8.0])
def test_with_the_providers_forecasts_ridge_is_never_worse_than_the_better_of_the_two(
    sigma: float, error_alone: float
) -> None:
    raw = persistent()
    issues = provider(raw, sigma)
    both = dataset(
        source=ISSUED, future_exogenous=[{"column": "sales", "issued": True, "max_missing": 0.05}]
    )
    with_issues = prepared(raw, both, issues)
    problem_with_issues = problem_of(with_issues, both)
    combined = test_error(
        fitted(problem_with_issues, family="ridge"), with_issues, problem_with_issues
    )
    rows = problem_with_issues.rows("shop", "test")
    issued_values = with_issues.series[0].values[rows, 1:]
    theirs = np.abs(
        issued_values - with_issues.series[0].values[rows[:, None] + np.arange(1, HORIZON + 1), 0]
    ).mean()
    assert combined <= 1.01 * min(error_alone, theirs)
    if sigma == 1.0:
        assert combined < 0.9 * min(error_alone, theirs)  # two errors that differ


def test_at_a_cutoff_only_issues_up_to_it_are_read_at_the_lead_times_they_had() -> None:
    raw = persistent(40)
    both = dataset(
        source=ISSUED,
        lookback=2,
        future_exogenous=[{"column": "sales", "issued": True, "max_missing": 0.5}],
    )
    issues = provider(raw, 1.0)
    values = prepared(raw, both, issues).series[0].values
    by = issues.set_index(["issued_at", "ds"])["sales"]
    hour = pd.Timedelta(1, "h")
    # known an hour after they begin: the issue of 07:00 counts from row 6 on
    for row in (6, 8, 11):
        for step in range(1, HORIZON + 1):
            assert values[row, step] == by[raw["ds"].iloc[6] + hour, raw["ds"].iloc[row + step]]
    assert values[5, 1] == by[raw["ds"].iloc[0] + hour, raw["ds"].iloc[6]]


def write_files(root: Path, raw: pd.DataFrame, issues: pd.DataFrame) -> Request:
    (root / "data").mkdir()
    raw.drop(columns="unique_id").to_csv(root / "data" / "shop.csv", index=False)
    issues.drop(columns="unique_id").to_csv(root / "data" / "issued.csv", index=False)
    entry = dataset(source=ISSUED, future_exogenous=[{"column": "sales", "issued": True}])
    return Request("shop", entry, root, None)


def test_a_file_of_forecasts_with_their_times_of_issue_is_read_beside_the_data(
    tmp_path: Path,
) -> None:
    raw = persistent(60)
    read = sources.read(write_files(tmp_path, raw, provider(raw, 1.0)))
    assert read.vintages is not None
    pd.testing.assert_frame_equal(read.vintages, provider(raw, 1.0), check_dtype=False)


def test_a_snapshot_that_is_absent_is_made_again_with_its_forecasts(tmp_path: Path) -> None:
    write_files(tmp_path, persistent(60), provider(persistent(60), 1.0))
    entry = dataset(
        source=ISSUED, future_exogenous=[{"column": "sales", "issued": True, "max_missing": 0.2}]
    )
    fetched = fetch_snapshot(Request("shop", entry, tmp_path), now=pd.Timestamp("2024-02-01"))
    issues_read = vintages.read_vintages(tmp_path, "shop")
    shutil.rmtree(tmp_path / "data" / "snapshots")
    assert len(preparation.read_snapshot("shop", entry, root=tmp_path)) == 60
    assert snapshots.read_pointer(tmp_path, "shop") == fetched.pointer
    pd.testing.assert_frame_equal(vintages.read_vintages(tmp_path, "shop"), issues_read)


def test_issues_that_leave_too_much_open_are_told_in_one_line_as_it_is_written(
    tmp_path: Path,
) -> None:
    request = write_files(tmp_path, persistent(60), provider(persistent(60), 1.0))
    with pytest.raises(
        InputError,
        match=r"column 'sales\+4' misses 9 of 60 .*: \{column: sales, max_missing: 0\.15\}\.$",
    ):
        fetch_snapshot(Request("shop", request.dataset, tmp_path), now=pd.Timestamp("2024-02-01"))


def test_forecasts_issued_after_their_target_are_refused(tmp_path: Path) -> None:
    raw = persistent(60)
    swapped = provider(raw, 1.0).rename(columns={"ds": "issued_at", "issued_at": "ds"})
    request = write_files(tmp_path, raw, swapped)
    with pytest.raises(
        InputError, match=r"data/issued\.csv: issued after their target was known: \d+ forecasts"
    ):
        sources.read(request)


def test_one_issued_after_its_target_is_refused_although_it_lies_behind_the_data(
    tmp_path: Path,
) -> None:
    issues = provider(persistent(60), 1.0)
    issues.loc[5, "issued_at"] = pd.Timestamp("2025-01-01")
    with pytest.raises(
        InputError, match=r"data/issued\.csv: issued after their target was known: 1 forecast,"
    ):
        sources.read(write_files(tmp_path, persistent(60), issues))


def test_two_forecasts_of_one_issue_are_refused_by_their_line_and_one_written_twice_is_one(
    tmp_path: Path,
) -> None:
    issues = provider(persistent(60), 1.0)
    request = write_files(tmp_path, persistent(60), pd.concat([issues, issues.iloc[[3]]]))
    pd.testing.assert_frame_equal(sources.read(request).vintages, issues, check_dtype=False)
    twice = pd.concat([issues, issues.iloc[[3]].assign(sales=0.0)]).drop(columns="unique_id")
    twice.to_csv(tmp_path / "data" / "issued.csv", index=False)
    with pytest.raises(
        InputError,
        match=rf"issued\.csv, line {len(issues) + 2} .*04:00\): two forecasts of one issue",
    ):
        sources.read(request)


def test_an_edit_of_the_file_of_forecasts_is_noticed_and_the_next_fetch_takes_it(
    tmp_path: Path,
) -> None:
    issues = provider(persistent(60), 1.0)
    write_files(tmp_path, persistent(60), issues)
    entry = dataset(
        source=ISSUED, future_exogenous=[{"column": "sales", "issued": True, "max_missing": 0.2}]
    )
    take = partial(fetch_snapshot, Request("shop", entry, tmp_path))
    take(now=pd.Timestamp("2024-02-01"))
    corrected = issues.assign(sales=issues["sales"] / 1000).drop(columns="unique_id").drop(index=7)
    corrected.to_csv(tmp_path / "data" / "issued.csv", index=False)
    with pytest.raises(
        InputError, match=r"data/issued\.csv: changed since its snapshot .* `forecast fetch shop`"
    ):
        preparation.check_data("shop", entry, root=tmp_path)
    take(now=pd.Timestamp("2024-02-02"))
    preparation.check_data("shop", entry, root=tmp_path)
    issues_before = vintages.read_vintages(tmp_path, "shop")
    np.testing.assert_allclose(issues_before["sales"].sum(), corrected["sales"].sum())
    assert len(issues_before) == len(corrected)


def test_a_file_of_no_forecasts_is_one_of_none(tmp_path: Path) -> None:
    read = sources.read(
        write_files(tmp_path, persistent(60), provider(persistent(60), 1.0).head(0))
    )
    assert read.vintages is not None and read.vintages.empty


def test_a_day_of_the_past_keeps_its_plan_and_what_was_observed_since_is_no_revision(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    shop().drop(columns="unique_id").to_csv(tmp_path / "data" / "shop.csv", index=False)
    now, day = pd.Timestamp("2024-03-01"), pd.Timestamp("2024-02-10")
    fetch_snapshot(Request("shop", dataset(), tmp_path, as_of=day), now=now)
    rows = preparation.check_data("shop", dataset(), root=tmp_path)[0]
    assert rows["ds"].iloc[-1] == day - pd.Timedelta("1h") and rows.notna().all(axis=None)
    assert fetch_snapshot(Request("shop", dataset(), tmp_path), now=now).revised.empty


def test_rows_with_a_plan_alone_do_not_make_the_data_newer_than_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shop().drop(columns="unique_id").to_csv(tmp_path / "data" / "shop.csv", index=False)
    read = sources.read(Request("shop", dataset(), tmp_path, None))
    assert read.as_of == pd.Timestamp("2024-02-20 00:00") and len(read.frame) == ROWS + HORIZON
    assert len(trim_to_observed(read.frame, dataset())) == ROWS


def test_what_is_wrong_with_forecasts_is_told_once_and_not_for_every_step_of_the_horizon() -> None:
    settings = dataset(
        source=ISSUED, future_exogenous=[{"column": "sales", "issued": True, "max_missing": 0.2}]
    )
    raw = persistent()
    issues = provider(raw, 1.0)
    whole = vintages.add_issued(raw, settings, issues[issues["issued_at"] < raw["ds"].iloc[-50]])
    assert whole[["sales+1", "sales+4"]].iloc[-30:].isna().all(axis=None)
    findings = quality.find_violations(
        preparation.adjusted_observations(whole, settings), settings, as_of=raw["ds"].iloc[-1]
    )
    assert [(finding.rule, finding.column) for finding in findings] == [
        ("missing_cells", "sales+4")
    ]


@pytest.mark.parametrize(
    ("now", "is_told"), [("2024-02-19 22:59", True), ("2024-02-19 23:00", False)]
)
def test_a_last_row_that_begins_after_this_clock_is_told(
    tmp_path: Path, now: str, is_told: bool
) -> None:
    """As with a slow clock, or local times of the east that are read as UTC; a day or hour that
    goes on is none.
    """
    (tmp_path / "data").mkdir()
    shop(plan=100).drop(columns="unique_id").to_csv(tmp_path / "data" / "shop.csv", index=False)
    findings = fetch_snapshot(Request("shop", dataset(), tmp_path), now=pd.Timestamp(now)).findings
    assert [finding.rule for finding in findings] == ["freshness"] * is_told
    assert not is_told or "later than this clock's 2024-02-19 22:59 UTC" in findings[0].sentence
    assert not fetch_snapshot(
        Request("shop", dataset(quality={"freshness": "off"}), tmp_path), now=pd.Timestamp(now)
    ).findings


def test_forecasts_in_local_times_are_told_apart_in_the_hour_that_stands_twice(
    tmp_path: Path,
) -> None:
    raw = persistent(60).assign(
        ds=pd.date_range("2024-10-26 02:00", periods=60, freq="h").as_unit("ns")
    )
    issues = provider(raw, 1.0)

    def local(times: pd.Series) -> pd.Series:
        return times.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin").dt.tz_localize(None)

    local_tables = [
        table.assign(**{c: local(table[c]) for c in table if c in ("ds", "issued_at")})
        for table in (raw, issues)
    ]
    request = write_files(tmp_path, *local_tables)
    entry = dataset(
        source={**ISSUED, "time_zone": "Europe/Berlin"},
        future_exogenous=request.dataset.future_exogenous,
    )
    read = sources.read(Request("shop", entry, tmp_path, None))
    pd.testing.assert_frame_equal(read.vintages, issues, check_dtype=False)


def test_a_file_of_forecasts_that_is_absent_is_named_and_not_the_other(tmp_path: Path) -> None:
    request = write_files(tmp_path, persistent(60), provider(persistent(60), 1.0))
    (tmp_path / "data" / "issued.csv").unlink()
    with pytest.raises(
        InputError, match=r"^data/issued\.csv: no such file\. Correct its path in configs"
    ):
        sources.read(request)


def test_the_role_of_every_column_can_be_asked_with_its_reason_and_what_the_data_show() -> None:
    past = dataset(
        past_exogenous=[{"column": "rain", "max_missing": 0.1}],
        future_exogenous=[{"column": "promo", "known_ahead": True}],
        holidays="DE",
    )
    raw = shop().rename(columns={"holiday": "promo"})
    raw["rain"] = raw["sales"].shift(1).where((raw.index % 20 != 3) & (raw.index < ROWS))
    frame = preparation.prepare(add_known_ahead(raw, past), past, where="data/shop.csv")[0]
    roles = {role.column: role for role in describe_roles(frame, past)}
    assert {name: role.role for name, role in roles.items()} == {
        "sales": "target",
        "rain": "past_exogenous",
        "promo": "future_exogenous",
        "holiday": "holidays",
        "hour_of_day": "calendar_features",
    }
    assert "needs it for the whole horizon" in roles["promo"].reason
    assert "holidays of DE" in roles["holiday"].reason
    assert "5.1 % of the steps without a value" in roles["rain"].data


def test_what_has_no_value_behind_the_last_row_may_be_measured_and_no_plan() -> None:
    settings = dataset()

    def findings(plan: int) -> list[quality.Violation]:
        whole = add_known_ahead(shop(plan), settings)
        prepared = preparation.prepare_frame(whole, "shop", settings)
        return preparation.find_unplanned(prepared.frame, settings)

    (finding,) = findings(0)
    assert finding.rule == "perfect_plan"
    assert finding.sentence.startswith("'holiday': known ahead, but without a value after")
    assert "assume a perfect forecast" in finding.sentence and "`issued_path`" in finding.sentence
    assert findings(HORIZON) == []
