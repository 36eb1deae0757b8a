"""A request to a served model: what is served equals what was backtested, or the request is refused
in a sentence.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import forecast
from forecast.data.panel import Panel
from forecast.forecaster import forecaster as forecaster_module
from forecast.forecaster import serving
from forecast.forecaster.ensemble import Ensemble
from forecast.forecaster.serving import Service, describe_unequal_ends
from forecast.networks.description import count_twins
from forecast.system.errors import InputError
from tests.contract.families import FAMILIES, forecaster
from tests.support import problems

STATISTICAL = sorted(name for name, family in FAMILIES.items() if family.starts_at_train_end)


def history() -> pd.DataFrame:
    return problems.frame()


def service(family: str) -> Service:
    return Service(Ensemble((forecaster(family, None),)))


@pytest.mark.parametrize("family", STATISTICAL)
def test_a_recursion_serves_what_it_forecast_in_the_backtest_from_the_same_cutoff(family):
    model, shops = forecaster(family, None), problems.shops().panel
    last = {series.unique_id: np.array([len(series) - 1]) for series in shops.series}
    expected = model.predict(shops, last)
    served = service(family).answer(history())
    for uid, values in expected.items():
        for output, name in enumerate(shops.task.targets):
            of_column = served[(served["unique_id"] == uid) & (served["output"] == name)]
            np.testing.assert_allclose(of_column["y_hat"], values[0, :, output], rtol=1e-9)


@pytest.mark.parametrize("family", STATISTICAL)
def test_a_history_that_begins_after_the_recursion_did_is_refused(family):
    late_history = history().groupby("unique_id").tail(60)
    with pytest.raises(InputError, match=r"recursion began at .* and needs every row since"):
        service(family).answer(late_history)


def test_rows_before_the_first_train_row_change_nothing():
    longer = history()
    first = longer.groupby("unique_id").head(1)
    earlier = pd.concat([first.assign(ds=first["ds"] - pd.Timedelta(hours=k)) for k in (3, 2, 1)])
    longer = pd.concat([earlier, longer]).sort_values(["unique_id", "ds"], ignore_index=True)
    served = service("theta")
    pd.testing.assert_frame_equal(served.answer(longer), served.answer(history()))


def test_a_window_model_is_given_no_more_than_it_reads(monkeypatch):
    rows = []
    real = serving.from_frame
    monkeypatch.setattr(
        serving,
        "from_frame",
        lambda frame, *arguments: rows.append(len(frame)) or real(frame, *arguments),
    )
    Service(Ensemble((forecaster("ridge", "linear"),))).answer(
        history()
    )  # it has gaps, which the short way does not take
    task = problems.task()
    assert rows == [2 * (task.lookback + task.season_length)]


def test_a_request_is_answered_with_one_thread_of_blas_and_those_of_the_caller_come_back(
    monkeypatch,
):
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    thread_counts = []
    real = serving.forecast_latest
    watched = lambda *arguments, **how: thread_counts.append(threads()) or real(*arguments, **how)  # noqa: E731
    monkeypatch.setattr(serving, "forecast_latest", watched)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(history())
        assert threads() == before
    assert thread_counts == [{1}]


def ready(history: pd.DataFrame, ensemble: Ensemble) -> Panel | None:
    return serving.read_ordered_panel(history, ("unique_id", "ds"), ensemble)


@pytest.mark.parametrize("family", ["ridge", "gru", "theta", "seasonal_naive"])
@pytest.mark.parametrize("unit", ["ns", "us", "s"])
def test_a_history_that_needs_no_mending_is_taken_as_it_is_with_the_same_forecast(
    family, unit, monkeypatch
):
    ensemble = Ensemble((forecaster(family, "linear" if FAMILIES[family].has_skip else None),))
    complete = problems.frame(gaps=False).assign(ds=lambda t: t["ds"].astype(f"datetime64[{unit}]"))
    panel = ready(complete, ensemble)
    assert panel is not None and [s.unique_id for s in panel.series] == ["north", "south"]
    if not ensemble.needs_whole_history:
        assert {len(series) for series in panel.series} == {
            ensemble.task.lookback + ensemble.task.season_length
        }
    quick = Service(ensemble).answer(complete)
    monkeypatch.setattr(serving, "read_ordered_panel", lambda *arguments: None)
    pd.testing.assert_frame_equal(quick, Service(ensemble).answer(complete), check_exact=True)


@pytest.mark.parametrize(
    "family",
    ["narx", "ffnn", "gru", "lstm", "elman", "bidirectional", "encoder_decoder", "jordan"],
)
@pytest.mark.parametrize("grouped_from", [2, 20])
def test_seeds_of_one_network_are_asked_as_one_and_forecast_what_each_does_alone(
    family, grouped_from, monkeypatch
):
    monkeypatch.setattr(forecaster_module, "MIN_SERIES_IN_GROUP", grouped_from)
    first = forecaster(family, "linear")
    seeds = [
        replace(first, weights={name: (1 + k / 50) * w for name, w in first.weights.items()})
        for k in range(3)
    ]
    other = forecaster("ridge", "linear")
    panel = problems.shops().panel
    last = {series.unique_id: np.array([len(series) - 1]) for series in panel.series}
    alone = [each.predict(panel, last) for each in (*seeds, other)]
    n_forecasters = []
    predict = type(first).predict
    monkeypatch.setattr(
        type(first), "predict", lambda *args: n_forecasters.append(args[0]) or predict(*args)
    )
    together = Ensemble((*seeds, other)).predict(panel, last)
    assert [count_twins(each.weights) for each in n_forecasters] == [3, 1]
    for uid, y_hat in together.items():
        expected = [each[uid] for each in alone]
        assert not np.allclose(expected[0], expected[1])
        np.testing.assert_allclose(y_hat, np.mean(expected, axis=0), rtol=1e-12)


@pytest.mark.parametrize(("difference", "n_asked"), [(1e-10, [2]), (1e-6, [1, 1])])
@pytest.mark.parametrize("family", ["narx", "gru"])
def test_seeds_whose_linear_parts_differ_by_rounding_alone_are_asked_as_one(
    family, difference, n_asked, monkeypatch
):
    first = forecaster(family, "linear")
    moved = replace(first.skip, coefficients=first.skip.coefficients + difference)
    seeds = (first, replace(first, skip=moved))
    panel = problems.shops().panel
    last = {series.unique_id: np.array([len(series) - 1]) for series in panel.series}
    alone = [seed.predict(panel, last) for seed in seeds]
    counts = []
    predict = type(first).predict
    monkeypatch.setattr(
        type(first), "predict", lambda *args: counts.append(args[0]) or predict(*args)
    )
    together = Ensemble(seeds).predict(panel, last)
    assert [count_twins(each.weights) for each in counts] == n_asked
    for uid, y_hat in together.items():
        np.testing.assert_allclose(y_hat, np.mean([each[uid] for each in alone], axis=0), rtol=1e-7)


def test_whatever_has_a_fault_or_needs_mending_goes_through_every_check():
    ensemble = Ensemble((forecaster("ridge", "linear"),))
    good = problems.frame(gaps=False)
    cases = {
        "text": good.assign(ds=good["ds"].astype(str)),
        "a zone": good.assign(ds=good["ds"].dt.tz_localize("UTC")),
        "a row left out": good.drop(index=70),
        "a row twice": pd.concat([good.head(1), good]),
        "another order": good.sample(frac=1.0, random_state=0),
        "series in another order": good.sort_values("unique_id", ascending=False, kind="stable"),
        "half a step": good.assign(
            ds=good["ds"].where(good["unique_id"] == "north", good["ds"] + pd.Timedelta("30min"))
        ),
        "no time": good.assign(ds=good["ds"].where(good.index != 3)),
        "too early": good.assign(
            ds=good["ds"].astype("datetime64[s]") - np.timedelta64(146_097 * 86_400, "s")
        ),
        "no name": good.assign(unique_id=good["unique_id"].where(good.index != 3)),
        "names as numbers": good.assign(unique_id=1),
        "numbers as text": good.assign(rain=good["rain"].astype(str)),
        "flags": good.assign(rain=True),
        "an empty column": good.assign(sales=np.nan),
        "an endless number": good.assign(sales=good["sales"].where(good.index != 3, np.inf)),
        "a negative logarithm": good.assign(price=good["price"].where(good.index != 3, 0.0)),
        "a column too few": good.drop(columns="rain"),
        "a column twice": pd.concat([good, good[["rain"]]], axis=1),
        "no rows": good.head(0),
    }
    assert ready(good, ensemble) is not None
    assert [name for name, table in cases.items() if ready(table, ensemble) is not None] == []


def test_rows_in_any_order_have_the_same_forecast_and_faults_name_their_row():
    service = Service(Ensemble((forecaster("ridge", "linear"),)))
    table = history()
    for rows in (table.sample(frac=1.0, random_state=0), table[::-1], table.sort_values("ds")):
        for given in (rows, rows.assign(ds=rows["ds"].astype(str))):
            pd.testing.assert_frame_equal(service.answer(given), service.answer(table))
    twice = pd.concat([table, table.iloc[[3]]], ignore_index=True)[::-1]
    with pytest.raises(InputError, match=r"row 3 .*this time stands twice in its series"):
        service.answer(twice)


@pytest.mark.parametrize("value", [1e308, -1e308])
def test_a_history_whose_squares_are_no_finite_numbers_is_refused(value):
    table = history()
    table.loc[table.groupby("unique_id").tail(1).index, "sales"] = value
    with pytest.raises(InputError, match=r"holds -?1e\+308, wanted a finite number up to 1e\+100"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(table)


def test_a_forecast_that_is_no_finite_number_is_refused_with_the_largest_value_it_was_made_from():
    fitted = forecaster("ridge", "linear")
    steep = replace(
        fitted, skip=replace(fitted.skip, coefficients=fitted.skip.coefficients * 1e300)
    )
    table = history()
    table.loc[table.groupby("unique_id").tail(2).index, "sales"] = 1e90
    with pytest.raises(InputError, match=r"no finite number; its largest value is 1e\+90"):
        Service(Ensemble((steep,))).answer(table)


@pytest.mark.parametrize(
    "moment", ["1600-01-01T00:00:00", "9999-12-31T23:00:00", "2262-04-12T00:00:00"]
)
def test_a_time_that_no_clock_here_holds_is_refused(moment):
    table = history().assign(ds=lambda t: t["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    table.loc[0, "ds"] = moment
    with pytest.raises(InputError, match="request"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(table)


@pytest.mark.parametrize("moment", ["1600-01-01T00:00:00", "9999-12-31T23:00:00", "soon", 7])
def test_the_message_quotes_the_row_that_is_wrong(moment):
    table = history().assign(ds=lambda t: t["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S").astype(object))
    table.loc[11, "ds"] = moment
    with pytest.raises(InputError, match=f"request, row 11: column 'ds' holds '{moment}"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(table)


@pytest.mark.parametrize("dtype", ["string", "object", "str", "category"])
@pytest.mark.parametrize("missing", [pd.NA, None, float("nan")])
def test_a_missing_time_is_refused_with_its_row_in_every_kind_of_text(dtype, missing):
    table = history().assign(ds=lambda t: t["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S").astype(object))
    table.loc[11, "ds"] = missing
    with pytest.raises(InputError, match="request, row 11: column 'ds'"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(table.astype({"ds": dtype}))


def test_a_frame_of_seconds_may_hold_a_time_that_nanoseconds_cannot():
    table = history().assign(ds=lambda t: t["ds"].astype("datetime64[s]"))
    table.loc[11, "ds"] = pd.Timestamp("1600-01-01").as_unit("s")
    with pytest.raises(InputError, match=r"row 11 .*1678 to 2199"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(table)


def test_a_recursion_may_be_sent_more_rows_than_a_window_needs(monkeypatch):
    monkeypatch.setattr(serving, "MAX_ROWS", 10)
    assert len(service("theta").answer(history()))
    with pytest.raises(InputError, match=r"wanted at most 10\. Send the newest ones"):
        Service(Ensemble((forecaster("ridge", "linear"),))).answer(history())


def test_a_request_without_rows_is_refused():
    with pytest.raises(InputError, match="found no rows"):
        service("theta").answer(history().head(0).astype({"ds": object}))


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_a_missing_time_among_text_is_told_by_its_row(missing, dtype):
    history = pd.DataFrame({"ds": pd.Series(["2024-01-01", missing], dtype=dtype)})
    with pytest.raises(InputError, match=r"request, row 1: column 'ds' holds .* wanted ISO 8601"):
        serving._parse_times(history)


def test_times_with_a_zone_are_read_without_a_warning_and_a_list_of_times_is_refused() -> None:
    rows = history()
    ridge = Service(Ensemble((forecaster("ridge", "linear"),)))
    plain = rows["ds"].map(lambda moment: moment.isoformat())
    expected = ridge.answer(rows.assign(ds=plain))
    for zone in ("Z", "+00:00"):
        pd.testing.assert_frame_equal(ridge.answer(rows.assign(ds=plain + zone)), expected)
    for listed in ([[time] for time in plain], [[time, time] for time in plain]):
        with pytest.raises(InputError, match="row 0: column 'ds' holds"):
            ridge.answer(rows.assign(ds=listed))


def test_a_request_is_answered_for_its_series_alone() -> None:
    rows = history()
    ridge = Service(Ensemble((forecaster("ridge", "linear"),)))
    whole = ridge.answer(rows)
    part = ridge.answer(rows[rows["unique_id"] == "north"])
    assert "note" not in whole and "note" not in part
    pd.testing.assert_frame_equal(part, whole[whole["unique_id"] == "north"].reset_index(drop=True))


@pytest.mark.parametrize("column", ["sales", "price", "wind"])
def test_a_note_tells_of_values_unlike_the_fit_in_the_rows_of_their_series_alone(column) -> None:
    rows = history()
    is_last = rows.groupby("unique_id").cumcount(ascending=False) == 0
    is_wrong = is_last & (rows["unique_id"] == "north")
    wrong = rows.assign(**{column: rows[column].fillna(1).mask(is_wrong, 1e4)})
    notes = Service(Ensemble((forecaster("ridge", "linear"),))).answer(wrong)
    by_series = notes.groupby("unique_id")["note"].unique()
    (north,) = by_series["north"]
    verb = r"is 10000" if column != "wind" else r"changes by 9\d+"
    assert re.search(rf"'{column}' of 'north' {verb}.* at .*\(in training ", north)
    assert by_series["south"].tolist() == [""]


def test_a_missing_column_is_named_with_the_columns_that_were_sent() -> None:
    rows = history().drop(columns="wind").assign(kind="bakery")
    task = problems.task(static=[{"column": "kind", "categories": ["bakery", "butcher"]}])
    with pytest.raises(InputError) as refused:
        serving._check_rows(rows, task)
    message = str(refused.value)
    assert "column 'wind' is missing" in message
    assert "'kind'" in message and "kind=" not in message


def test_a_series_that_lacks_the_newest_rows_is_named_since_its_forecast_begins_earlier() -> None:
    rows = problems.frame()
    panel = problems.panel_of(rows)
    assert describe_unequal_ends(panel, panel.newest) == ""
    is_last = ~rows["unique_id"].duplicated(keep="last")
    shorter = rows[~((rows["unique_id"] == "south") & is_last)]
    assert describe_unequal_ends(problems.panel_of(shorter), panel.newest) == (
        "Without the newest rows of the others: series 'south' (to 2024-01-07 04:00). The"
        " forecast of each begins after its own last row."
    )


@pytest.mark.parametrize(("bounds", "outside"), [({"minimum": 0}, -0.5), ({"maximum": 100}, 100.5)])
def test_a_value_outside_of_the_bounds_of_its_target_is_refused(bounds, outside):
    days = pd.date_range("2024-01-01", periods=120)
    shares = pd.DataFrame({"unique_id": "s", "ds": days, "y": 50.0 + np.arange(120) % 7})
    model = forecast.fit(shares, "seasonal_naive", freq="D", horizon=2, season_length=7)
    (fitted,) = model.ensemble.forecasters
    target = fitted.task.target[0].model_copy(update=bounds)
    task = fitted.task.model_copy(update={"target": (target,)})
    bounded = replace(fitted, task=task)
    served = Service(replace(model.ensemble, forecasters=(bounded,)))
    loaded = replace(model, ensemble=served.ensemble)
    for row in (-1, -50):  # the model does not read the second
        wrong = shares.copy()
        wrong.loc[wrong.index[row], "y"] = outside
        day = days[row].date()
        pattern = rf"'y' of series 's' has {outside:g} at {day}, outside of its bounds"
        with pytest.raises(InputError, match=pattern) as refusal:
            served.answer(wrong)
        assert serving.advise_caller(str(refusal.value)).endswith(". Correct the value.")
        with pytest.raises(InputError, match=pattern):
            served.answer(wrong.astype({"unique_id": "category"}))  # the long way
        with pytest.raises(InputError, match=pattern):
            loaded.predict(wrong)
    served.answer(shares.assign(y=bounds.get("minimum", 100)))
