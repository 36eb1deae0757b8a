"""Correlations over delays, and the choice of delays with dead times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from threadpoolctl import threadpool_info, threadpool_limits

from forecast.identification import (
    Experiment,
    arx_order,
    autocorrelation,
    choose_delays,
    cross_correlation,
    narxnet,
    tank,
    train,
)
from forecast.identification.delays import partial_autocorrelation
from forecast.identification.experiment import dead_times, nested_deviances
from forecast.system.errors import InputError


def delayed_arx(rows: int, dead: int, seed: int, *, smooth: bool = False) -> Experiment:
    """y[t] = 1.2 y[t-1] - 0.5 y[t-2] + u[t-dead] + noise."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=rows)
    if smooth:
        for t in range(1, rows):
            u[t] += 0.9 * u[t - 1]
    y = np.zeros(rows)
    for t in range(2, rows):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + u[max(t - dead, 0)] + 0.2 * rng.normal()
    return Experiment(u, y)


@pytest.mark.parametrize("smooth", [False, True], ids=["white input", "smooth input"])
@pytest.mark.parametrize("dead", [1, 5])
def test_the_dead_time_is_the_first_delay_at_which_an_input_acts(dead, smooth) -> None:
    chosen = choose_delays(
        delayed_arx(600, dead, 0, smooth=smooth), delayed_arx(600, dead, 1, smooth=smooth)
    )
    assert chosen.dead_times == (dead,)
    assert chosen.input_delays[0] == dead


def test_the_orders_of_an_arx_model_begin_at_the_dead_time() -> None:
    assert arx_order(delayed_arx(600, 12, 0), longest=4) == ((11, 12), (1, 2))


@pytest.mark.parametrize("lag", [3, 7, 20])
def test_the_order_of_an_arx_model_reaches_an_input_behind_its_longest_delay(lag):
    draw = np.random.default_rng(lag)
    u, e = draw.standard_normal(600), 0.02 * draw.standard_normal(600)
    y = lfilter([1], [1, -0.7], np.concatenate([np.zeros(lag), u[:-lag]]) + e)
    u_delays, _ = arx_order(Experiment(u, y), longest=3)
    assert lag in u_delays


def test_the_orders_of_an_arx_model_take_one_search_for_dead_times(monkeypatch) -> None:
    searches = []

    def noted(*arguments):
        searches.append(arguments)
        return dead_times(*arguments)

    monkeypatch.setattr("forecast.identification.delays.dead_times", noted)
    arx_order(delayed_arx(600, 1, 0), longest=4)
    assert len(searches) == 1


def test_feedback_delays_are_those_of_the_law_and_a_season_beyond() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros(1000)
    for t in range(12, 1000):
        y[t] = 0.5 * y[t - 1] + 0.45 * y[t - 12] + rng.normal()
    chosen = choose_delays(Experiment(None, y)).feedback_delays
    assert {1, 12} <= set(chosen) and len(chosen) <= 6
    assert choose_delays(delayed_arx(600, 1, 0)).feedback_delays[:2] == (1, 2)


def test_an_input_that_acts_at_once_and_much_later_keeps_both_delays() -> None:
    u = np.random.default_rng(0).uniform(0.0, 0.5, size=1000)
    y = np.zeros(1000)
    for t in range(9, 999):
        y[t + 1] = 0.5 * y[t] + 1.5 * u[t] * u[t - 9] + 0.1
    assert {1, 10} <= set(choose_delays(Experiment(u, y), most=6).input_delays)


def test_a_system_that_takes_plus_and_minus_alike_shows_its_dead_time() -> None:
    u = np.random.default_rng(0).normal(size=600)
    y = np.abs(np.concatenate([np.zeros(3), u[:-3]]))
    chosen = choose_delays(Experiment(u, y))
    assert chosen.dead_times == (3,) and 3 in chosen.input_delays


def test_an_input_that_does_nothing_has_no_dead_time() -> None:
    idle = np.random.default_rng(9).normal(size=600)
    e = delayed_arx(600, 2, 0)
    chosen = choose_delays(Experiment(np.column_stack([e.u[:, 0], idle]), e.y))
    assert chosen.dead_times == (2, None)


def test_a_net_with_the_chosen_delays_beats_one_that_is_blind_to_the_dead_time() -> None:
    e = delayed_arx(600, 5, 0)
    chosen = choose_delays(e)
    errors = {}
    for name, delays in {"chosen": chosen.input_delays, "blind": (1, 2)}.items():
        model = train(narxnet(delays, chosen.feedback_delays, ()), e)
        errors[name] = model.training.performance["test"]
    assert errors["chosen"] < 0.1 * errors["blind"]


def test_short_experiments_are_refused() -> None:
    with pytest.raises(
        InputError,
        match="Delays up to 20 steps were asked of an experiment of 60 rows; at least 80",
    ):
        choose_delays(tank(200), tank(60))


def test_correlations_in_numbers() -> None:
    found = autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 2)
    np.testing.assert_allclose(found.values, [1.0, -0.75, 0.5])
    assert found.band == pytest.approx(0.98, abs=1e-3)
    cross = cross_correlation(np.array([1.0, 0, 0, 0]), np.array([0, 0, 1.0, 0]), 3)
    assert int(cross.lags[np.argmax(cross.values)]) == 2
    gapped = autocorrelation([np.array([1.0, np.nan, -1.0]), np.array([1.0, -1.0])], 1)
    # one pair of three is observed, of five rows: -1 times 3 / 5
    np.testing.assert_allclose(gapped.values, [1.0, -0.6])


@pytest.mark.parametrize("every", [4, 7])
def test_gaps_do_not_lower_correlations(every: int) -> None:
    values = tank(4000).y[:, 0]
    gapped = values.copy()
    gapped[::every] = np.nan
    np.testing.assert_allclose(
        autocorrelation(gapped, 6).values, autocorrelation(values, 6).values, atol=0.02
    )


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_dead_time_is_found_though_much_of_y_is_missing(share: float) -> None:
    e = delayed_arx(1200, 3, 0)
    y = e.y.copy()
    y[np.random.default_rng(0).random(len(y)) < share] = np.nan
    assert choose_delays(Experiment(e.u, y)).dead_times == (3,)


def test_partial_autocorrelation_ends_with_the_order_of_the_law() -> None:
    acf = np.ones(5)
    acf[1] = 1.2 / 1.5
    for k in range(2, 5):
        acf[k] = 1.2 * acf[k - 1] - 0.5 * acf[k - 2]
    np.testing.assert_allclose(partial_autocorrelation(acf)[2:], [-0.5, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    "form",
    [list, tuple, pd.Series, lambda y: pd.DataFrame({"y": y}), lambda y: y[:, None].tolist()],
)
def test_correlations_take_lists_and_frames(form) -> None:
    values = tank(50).y[:, 0]
    np.testing.assert_array_equal(
        autocorrelation(form(values), 3).values, autocorrelation(values, 3).values
    )
    found = cross_correlation(form(values), form(values), 3)
    np.testing.assert_array_equal(found.values, cross_correlation(values, values, 3).values)


def test_orders_are_not_searched_on_experiments_that_cannot_tell_them() -> None:
    e = tank(100)
    for choose in (choose_delays, arx_order):
        with pytest.raises(InputError, match=r"have \(inputs, outputs\) \[\(1, 1\), \(2, 1\)\]"):
            choose(e, Experiment(np.hstack([e.u, e.u]), e.y))
        with pytest.raises(InputError, match="nothing to train on"):
            choose()
        for longest in (0, 2.5):
            with pytest.raises(InputError, match=f"`longest` is {longest}; wanted a whole number"):
                choose(e, longest=longest)
        with pytest.raises(InputError, match="Output 0 is constant"):
            choose(Experiment(e.u, np.ones(100)))
    for correlate in (lambda k: autocorrelation(e.y, k), lambda k: cross_correlation(e.u, e.y, k)):
        for longest in (-3, 2.5):
            with pytest.raises(InputError, match=f"`longest` is {longest}; wanted a whole number"):
                correlate(longest)
    # any other word was 'aic'
    with pytest.raises(InputError, match="`criterion` is 'BIC'; wanted 'aic' or 'bic'"):
        arx_order(e, criterion="BIC")
    with pytest.raises(InputError, match="60 whole rows for ARX models of 82 weights"):
        arx_order(e, longest=40)


@pytest.mark.parametrize("choose", [choose_delays, arx_order])
def test_delays_are_chosen_in_one_thread(choose, monkeypatch) -> None:
    """On a busy machine threads that wait for each other made a minute of a tenth of a second."""
    threads: list[int] = []

    def noted(x, y):
        threads.extend(library["num_threads"] for library in threadpool_info())
        return nested_deviances(x, y)

    for module in ("experiment", "delays"):
        monkeypatch.setattr(f"forecast.identification.{module}.nested_deviances", noted)
    with threadpool_limits(2):
        choose(tank(100), longest=4)
    assert set(threads) == {1}


@pytest.mark.parametrize("every", [3, 5])
def test_delays_are_chosen_where_y_has_gaps_at_even_distances(every: int) -> None:
    """The filter that whitens the input reached over a gap everywhere: "No observed value"."""
    whole = tank(600, dead_time=3, noise=0.01)
    y = whole.y.copy()
    y[::every] = np.nan
    assert choose_delays(Experiment(whole.u, y)).dead_times == (3,)


def test_delays_are_not_chosen_where_every_second_y_is_missing() -> None:
    whole = tank(600)
    whole.y[::2] = np.nan
    with pytest.raises(InputError, match="never observed in two rows in a row"):
        choose_delays(whole)


def test_errors_and_inputs_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="different numbers of rows"):
        cross_correlation(np.zeros(3) + 1, np.zeros(4) + 1)
    with pytest.raises(InputError, match="No observed value to correlate"):
        autocorrelation(np.full(3, np.nan))
