"""One contract over every family and skip: what a forecast may see, and what it must not depend
on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forecast.data.panel import Panel, Series
from forecast.forecaster import Forecaster, Problem
from forecast.networks.description import EncoderDecoder
from forecast.system.errors import InputError
from tests.contract.families import (
    EVERY,
    EVERY_WINDOWED,
    FAMILIES,
    fit_family,
    forecaster,
    in_scaled_units,
    scored_rows,
    spec_of,
)
from tests.support import problems

H, LOOKBACK = problems.HORIZON, problems.LOOKBACK


@EVERY
def test_a_forecast_has_an_axis_each_for_origin_horizon_and_output(family, skip):
    rows = scored_rows()
    y_hat = forecaster(family, skip).predict(problems.shops().panel, rows)
    assert {uid: values.shape for uid, values in y_hat.items()} == {
        uid: (len(at), H, 2) for uid, at in rows.items()
    }
    assert all(np.isfinite(values).all() for values in y_hat.values())


@EVERY
@pytest.mark.parametrize("garbage", [np.nan, 1e30], ids=["nan", "huge"])
def test_nothing_after_the_origin_changes_a_bit(family, skip, garbage):
    panel = problems.copied(problems.shops().panel)
    for uid, rows in scored_rows().items():
        rows_seen, series = rows[: len(rows) // 2], panel.by_id[uid]
        before = forecaster(family, skip).predict(panel, {uid: rows_seen})
        series.values[rows_seen[-1] + 1 :] = garbage
        series.future[rows_seen[-1] + H + 1 :] = garbage
        np.testing.assert_array_equal(
            forecaster(family, skip).predict(panel, {uid: rows_seen})[uid], before[uid]
        )


@EVERY
@pytest.mark.parametrize("first_step", [1, H])
def test_what_is_known_ahead_is_seen_up_to_the_horizon(family, skip, first_step):
    panel, model = problems.copied(problems.shops().panel), forecaster(family, skip)
    row = scored_rows()["north"][:1]
    before = model.predict(panel, {"north": row})["north"]
    panel.by_id["north"].future[row[0] + first_step : row[0] + H + 1] += 1
    after = model.predict(panel, {"north": row})["north"]
    if model.spec.kind != "regression":  # which may read the calendar or not
        assert (after[:, -1] != before[:, -1]).any() == reads_the_calendar(model, first_step)


def reads_the_calendar(model: Forecaster, first_step: int) -> bool:
    """Whether the forecast of the last step reads it from `first_step` on; a direct linear map
    reads that of the first step, from which all others follow.
    """
    network = model.network
    is_linear = model.spec.kind == "linear" or (network and model.skip.kind == "linear")
    if is_linear and (first_step == 1 or model.skip.horizon == 1):
        return True
    return network is not None and bool(
        network.future_units or any(isinstance(block, EncoderDecoder) for block in network.blocks)
    )


@EVERY
def test_the_past_alone_up_to_the_origin_gives_the_same_forecast(family, skip):
    panel, model = problems.shops().panel, forecaster(family, skip)
    for uid, rows in scored_rows().items():
        row = rows[len(rows) // 2]
        served = problems.latest(model, problems.until(panel, panel.by_id[uid].ds[row]))[uid]
        np.testing.assert_allclose(
            *(in_scaled_units(model, uid, f) for f in (served, at(model, uid, row))), atol=1e-6
        )


@EVERY_WINDOWED
def test_a_forecast_reads_exactly_the_rows_of_the_lookback(family, skip):
    """What a service gets, the last `lookback` rows, gives what the backtest gave from the whole
    series.
    """
    model = forecaster(family, skip)
    for uid, rows in scored_rows().items():
        for row in rows[:: len(rows) // 3]:
            served = served_from(model, problems.shops().panel, uid, row)
            backtested = at(model, uid, row)
            np.testing.assert_allclose(
                in_scaled_units(model, uid, served),
                in_scaled_units(model, uid, backtested),
                atol=1e-6,
            )


@EVERY_WINDOWED
@pytest.mark.parametrize("transform", ["diff", "logdiff"])
def test_a_difference_over_the_edge_of_the_lookback_is_not_seen(family, skip, transform):
    problem = differenced(transform)
    model = fit_family(problem, family, skip)
    row = problem.rows("north", "test")[1]
    backtested = model.predict(problem.panel, {"north": np.array([row])})["north"][0]
    served = served_from(model, problem.panel, "north", row)
    np.testing.assert_allclose(served, backtested, rtol=1e-5)


@cache
def differenced(transform: str) -> Problem:
    target = {"column": "price", "transform": transform}
    past = [
        {"column": "wind", "transform": transform, "max_missing": 0.2, "difference_inputs": True}
    ]
    return problems.problem_of(problems.frame(), target=target, past_exogenous=past)


def served_from(model: Forecaster, panel: Panel, uid: str, row: int) -> np.ndarray:
    """(H, O): the latest forecast of a panel that holds nothing but the lookback of `row`."""
    series, start = panel.by_id[uid], row + 1 - LOOKBACK
    short = Series(
        uid,
        series.ds[start : row + 1],
        series.values[start : row + 1],
        series.future[start : row + 1 + H],
    )
    return problems.latest(model, replace(panel, series=(short,)))[uid]


def at(model: Forecaster, uid: str, row: int) -> np.ndarray:
    """(H, O): the backtest's forecast at one row."""
    return model.predict(problems.shops().panel, {uid: np.array([row])})[uid][0]


@EVERY
def test_a_forecast_does_not_depend_on_those_beside_it(family, skip):
    model = forecaster(family, skip)
    for uid, rows in scored_rows().items():
        together = in_scaled_units(
            model, uid, model.predict(problems.shops().panel, {uid: rows})[uid]
        )
        alone = in_scaled_units(model, uid, np.stack([at(model, uid, row) for row in rows]))
        np.testing.assert_allclose(alone, together, atol=1e-6)


@EVERY
def test_a_saved_model_forecasts_the_same_bits_and_is_the_same_bytes(family, skip, tmp_path):
    model, rows = forecaster(family, skip), scored_rows()
    for name in ("first", "second"):
        model.save(tmp_path / name)
    loaded = Forecaster.load(tmp_path / "first")
    assert loaded.n_params == model.n_params
    y_hats, expected = (m.predict(problems.shops().panel, rows) for m in (loaded, model))
    for uid in rows:
        np.testing.assert_array_equal(y_hats[uid], expected[uid])
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@EVERY
def test_too_short_a_history_is_refused_with_what_is_needed(family, skip):
    with pytest.raises(
        InputError,
        match=rf"'north': a forecast at row 5 has 6 rows of history; lookback={LOOKBACK}",
    ):
        at(forecaster(family, skip), "north", 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_it_is_and_where_it_comes_from(family):
    spec = spec_of(family)
    assert spec.family == family
    for text in (spec.summary, spec.equation, spec.source):
        assert len(text) > 8 and text == text.strip()
    assert set(spec.space()) <= set(type(spec).model_fields)
    for name, dimension in spec.space().items():
        assert dimension.widen_to(getattr(spec, name)) == dimension, (
            f"tuning starts from {name}'s default, which lies outside its range"
        )
