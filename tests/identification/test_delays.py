"""Correlations over delays, and the delays of an ARX model with dead times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from threadpoolctl import threadpool_info, threadpool_limits

from forecast.identification import (
    Experiment,
    autocorrelation,
    choose_delays,
    cross_correlation,
    tank,
)
from forecast.identification.delays import find_held_back_rows, nested_deviances
from forecast.identification.experiment import Standardization
from forecast.system.errors import InputError

GAINS, POLES = (0.1, 0.12, -0.1, 0.3), (0.9, 0.8, 0.9, 0.7)


def delayed_arx(rows: int, dead: int, seed: int) -> Experiment:
    """y[t] = 1.2 y[t-1] - 0.5 y[t-2] + u[t-dead] + noise."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=rows)
    y = np.zeros(rows)
    for t in range(2, rows):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + u[max(t - dead, 0)] + 0.2 * rng.normal()
    return Experiment(u, y)


def test_the_orders_of_an_arx_model_begin_at_the_dead_time() -> None:
    assert choose_delays(delayed_arx(600, 12, 0), longest=4) == ((11, 12), (1, 2))


@pytest.mark.parametrize("lag", [3, 7, 20])
def test_the_order_of_an_arx_model_reaches_an_input_behind_its_longest_delay(lag):
    draw = np.random.default_rng(lag)
    u, e = draw.standard_normal(600), 0.02 * draw.standard_normal(600)
    y = lfilter([1], [1, -0.7], np.concatenate([np.zeros(lag), u[:-lag]]) + e)
    u_delays, _ = choose_delays(Experiment(u, y), longest=3)
    assert lag in u_delays


def test_the_orders_of_an_arx_model_take_one_search_for_dead_times(monkeypatch) -> None:
    searches = []

    def note_call(*arguments):
        searches.append(arguments)
        return find_held_back_rows(*arguments)

    monkeypatch.setattr("forecast.identification.delays.find_held_back_rows", note_call)
    choose_delays(delayed_arx(600, 1, 0), longest=4)
    assert len(searches) == 1


@pytest.mark.parametrize("seed", [4, 5, 21])
def test_an_input_that_acts_as_a_factor_alone_has_no_dead_time(seed: int) -> None:
    """A linear model sees nothing of it; delays that explain most do so by chance."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(-1, 1, size=(75, 2)), 4, axis=0)
    y = lfilter([0.0, 0.3], [1.0, -0.7], u[:, 0] * u[:, 1] + 0.3 * u[:, 0])
    e = Experiment(u, y + 0.02 * y.std() * rng.normal(size=len(y)))
    assert find_held_back_rows([Standardization.fit([e]).scale(e)], 100) == ((0,), (0,))


def test_every_output_may_answer_an_input_after_a_dead_time_of_its_own() -> None:
    rng = np.random.default_rng(3)
    u = np.repeat(rng.uniform(-1, 1, size=(125, 2)), 8, axis=0)
    late = [np.roll(u[:, i], steps) for i, steps in ((0, 5), (1, 18), (0, 21), (1, 9))]
    filters = zip(GAINS, POLES, late, strict=True)
    parts = [lfilter([gain], [1, -pole], v) for gain, pole, v in filters]
    y = np.column_stack([parts[0] + parts[1], parts[2] + parts[3]])
    e = Experiment(u, y + 0.02 * rng.normal(size=y.shape))
    assert find_held_back_rows([Standardization.fit([e]).scale(e)], 100) == ((4, 20), (8, 17))
    assert choose_delays(e)[0][0] == 4
    assert choose_delays(e, longest_dead_time=0)[0][0] == 0


def test_correlations_in_numbers() -> None:
    correlations = autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 2)
    np.testing.assert_allclose(correlations.values, [1.0, -0.75, 0.5])
    assert correlations.band == pytest.approx(0.98, abs=1e-3)
    cross = cross_correlation(np.array([1.0, 0, 0, 0]), np.array([0, 0, 1.0, 0]), 3)
    assert int(cross.lags[np.argmax(cross.values)]) == 2
    gapped = autocorrelation(np.array([1.0, np.nan, -1.0, 1.0, -1.0]), 1)
    # two pairs of four are observed, of five rows: -1 times 4 / 5
    np.testing.assert_allclose(gapped.values, [1.0, -0.8])


@pytest.mark.parametrize("every", [4, 7])
def test_gaps_do_not_lower_correlations(every: int) -> None:
    values = tank(4000).y[:, 0]
    gapped = values.copy()
    gapped[::every] = np.nan
    np.testing.assert_allclose(
        autocorrelation(gapped, 6).values, autocorrelation(values, 6).values, atol=0.02
    )


@pytest.mark.parametrize(
    "form",
    [list, tuple, pd.Series, lambda y: pd.DataFrame({"y": y}), lambda y: y[:, None].tolist()],
)
def test_correlations_take_lists_and_frames(form) -> None:
    values = tank(50).y[:, 0]
    np.testing.assert_array_equal(
        autocorrelation(form(values), 3).values, autocorrelation(values, 3).values
    )
    correlations = cross_correlation(form(values), form(values), 3)
    np.testing.assert_array_equal(correlations.values, cross_correlation(values, values, 3).values)


def test_a_correlation_of_several_columns_or_of_a_row_is_refused() -> None:
    two = np.random.default_rng(0).normal(size=(50, 2))
    for correlate in (autocorrelation, lambda each: cross_correlation(each, two[:, 0])):
        for table in (two, two[:, :1].T):
            with pytest.raises(InputError, match="columns; wanted one, with time down the rows"):
                correlate(table)


def test_orders_are_not_searched_on_experiments_that_cannot_tell_them() -> None:
    e = tank(100)
    with pytest.raises(InputError, match=r"have \(inputs, outputs\) \[\(1, 1\), \(2, 1\)\]"):
        choose_delays(e, Experiment(np.hstack([e.u, e.u]), e.y))
    with pytest.raises(InputError, match="nothing to train on"):
        choose_delays()
    for longest in (0, 2.5):
        with pytest.raises(InputError, match=f"`longest` is {longest}; wanted a whole number"):
            choose_delays(e, longest=longest)
    with pytest.raises(InputError, match="Output 0 is constant"):
        choose_delays(Experiment(e.u, np.ones(100)))
    for correlate in (lambda k: autocorrelation(e.y, k), lambda k: cross_correlation(e.u, e.y, k)):
        for longest in (-3, 2.5):
            with pytest.raises(InputError, match=f"`longest` is {longest}; wanted a whole number"):
                correlate(longest)
    with pytest.raises(InputError, match="60 whole rows for ARX models of 82 weights"):
        choose_delays(e, longest=40)


def test_delays_are_chosen_in_one_thread(monkeypatch) -> None:
    """On a busy machine threads that wait for each other made a minute of a tenth of a second."""
    threads: list[int] = []

    def note_call(*arguments):
        threads.extend(library["num_threads"] for library in threadpool_info())
        return nested_deviances(*arguments)

    monkeypatch.setattr("forecast.identification.delays.nested_deviances", note_call)
    with threadpool_limits(2):
        choose_delays(tank(100), longest=4)
    assert set(threads) == {1}


def test_errors_and_inputs_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="Rows of u: 3, of error: 4; wanted one of each"):
        cross_correlation(np.zeros(3) + 1, np.zeros(4) + 1)
    with pytest.raises(InputError, match="No observed value to correlate"):
        autocorrelation(np.full(3, np.nan))
