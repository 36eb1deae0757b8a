"""Contributions sum to the forecast and are the right ones where those are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from forecast.comparison import explaining
from forecast.comparison.explaining import (
    LEVEL,
    NEWEST,
    SEASON,
    Parts,
    average_changes,
    explain,
    mean_course,
    trailing_level,
)
from forecast.data.panel import Panel, Series
from forecast.forecaster.ensemble import Ensemble
from forecast.models.skip import feature_names
from tests.contract import families
from tests.support import problems


def fitted(family: str, skip: str | None = None) -> Ensemble:
    return Ensemble((families.forecaster(family, skip),))


def newest(panel) -> dict[str, int]:
    return {series.unique_id: len(series) - 1 for series in panel.series}


def test_shapley_values_of_a_known_game_are_those_by_hand():
    worth = {frozenset(): 1.0, frozenset("a"): 3.0, frozenset("b"): 2.0, frozenset("ab"): 8.0}
    shares = average_changes(
        "ab", lambda subsets: [np.full((1, 1, 1), worth[subset]) for subset in subsets]
    )
    # a alone brings 2, behind b it brings 6
    assert shares["a"].item() == 4.0 and shares["b"].item() == 3.0


def test_sampled_orders_are_exact_where_parts_act_in_pairs():
    names = "abcdefgh"
    pairs = np.triu(np.random.default_rng(0).normal(size=(8, 8)))

    def value(subset):
        there = np.array([name in subset for name in names], dtype=float)
        return np.full((1, 1, 1), there @ pairs @ there)

    shares = average_changes(names, lambda subsets: [value(subset) for subset in subsets])
    exact = np.diag(pairs) + (np.triu(pairs, 1).sum(axis=0) + np.triu(pairs, 1).sum(axis=1)) / 2
    np.testing.assert_allclose([shares[name].item() for name in names], exact, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "skip"),
    [
        ("ridge", None),
        ("arx", None),
        ("sklearn", None),
        ("seasonal_naive", None),
        ("theta", None),
        ("gru", "linear"),
        ("narx", "last"),
    ],
)
def test_contributions_sum_to_the_forecast(family, skip):
    ensemble = fitted(family, skip)
    panel = problems.shops().panel
    rows = newest(panel)
    table = explain(ensemble, panel, rows)
    forecasts = ensemble.predict(panel, {uid: np.array([row]) for uid, row in rows.items()})
    sums = table.groupby(["unique_id", "output", "step"])["contribution"].sum()
    for uid, values in forecasts.items():
        for output, target in enumerate(panel.task.targets):
            # a network's float32 rounds otherwise for one window than for several
            np.testing.assert_allclose(sums[uid, target], values[0, :, output], rtol=1e-6)
    assert list(table["part"].unique()) == [LEVEL, SEASON, NEWEST, "wind", "rain"]


def test_an_input_contributes_its_coefficients_times_its_values_to_a_linear_forecast():
    ensemble = fitted("ridge")
    (forecaster,) = ensemble.forecasters
    skip, panel = forecaster.skip, problems.shops().panel
    series = panel.by_id["north"]
    row = len(series) - 1
    (windows,) = forecaster.windows(series, np.array([row]))
    channels = forecaster.channels
    names = feature_names(skip, channels)
    rain = channels.value[3]
    # a product with the calendar is shared by the two that make it
    shares = [(name.channel == rain) * (0.5 if name.waves else 1.0) for name in names]
    by_hand = (skip.inputs(windows, channels)[0] * shares) @ skip.coefficients[:-1]
    by_hand = by_hand.reshape(panel.task.horizon, -1)[:, 0] * forecaster.scaling.scale["north"][0]
    table = explain(ensemble, panel, newest(panel)).query(
        "unique_id == 'north' and output == 'sales'"
    )
    contributions = table.loc[table["part"] == "rain", "contribution"].to_numpy()
    assert np.abs(contributions).min() > 1e-3
    np.testing.assert_allclose(contributions, by_hand, rtol=1e-4)


def test_a_rule_that_reads_no_rain_owes_nothing_to_it():
    ensemble = fitted("seasonal_naive")
    panel = problems.shops().panel
    table = explain(ensemble, panel, newest(panel))
    assert (table.loc[table["part"].isin(["rain", "wind"]), "contribution"] == 0).all()
    # the season before, flat level away: season and newest rows are all that repeats
    assert table.loc[table["part"] == SEASON, "contribution"].abs().max() > 1


def test_level_course_and_rest_of_a_known_series():
    task = problems.task()
    course = np.tile([3.0, -1.0, -1.0, -1.0], 5)
    y = 20 + course
    np.testing.assert_allclose(mean_course(y, 4), course)
    assert trailing_level(y, task)[-1] == pytest.approx(20)
    y[-2] = np.nan
    assert trailing_level(y, task)[-1] == pytest.approx(np.mean([23, 19, 19]))


def test_with_every_part_the_panel_is_as_it_was():
    parts = Parts(fitted("ridge"), problems.shops().panel)
    same = parts.panel_reduced_to(frozenset(parts.names))
    for before, after in zip(parts.panel.series, same.series, strict=True):
        np.testing.assert_array_equal(before.values, after.values)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_of_more_series_than_are_explained_the_largest_stand_first_as_in_the_chart(
    monkeypatch, n_targets
):
    sizes = {"a": 1.0, "b": 3.0, "c": 9.0, "d": 2.0, "e": 5.0, "f": 4.0}
    times = pd.date_range("2024-01-01", periods=40, freq="D")
    parts = [pd.DataFrame({"unique_id": name, "ds": times, "y": y}) for name, y in sizes.items()]
    frame = pd.concat(parts, ignore_index=True)
    tested = frame.assign(cutoff=frame["ds"], block="test")
    task = SimpleNamespace(target=n_targets * ["y"])
    results = SimpleNamespace(
        name="mine",
        folder=str,
        forecasts=lambda *_: tested,
        naive_on_test=tested,
        series=tuple(sizes),
        dataset=task,
    )
    ensemble = SimpleNamespace(without_reconciliation=lambda: None)
    monkeypatch.setattr(explaining, "load_without_calibration", lambda folder: ensemble)

    def make_panel(rows, name, task):
        names = sorted(rows["unique_id"].unique())
        return Panel(name, task, tuple(Series(uid, times.to_numpy(), None, None) for uid in names))

    monkeypatch.setattr(explaining, "from_frame", make_panel)
    explained = []
    monkeypatch.setattr(
        explaining,
        "explain",
        lambda _, panel, rows: explained.append([s.unique_id for s in panel.series]) or frame[:1],
    )
    explaining.explain_selected(results, "ridge", frame, task)
    assert explained[0] == (["c", "e", "f", "b"] if n_targets == 1 else ["a", "b", "c", "d"])
