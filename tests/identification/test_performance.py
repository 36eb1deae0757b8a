"""How good a trained net is: its error, the verdict on its loop, and plots that show the numbers
behind them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.identification import (
    Experiment,
    Model,
    TrainingRecord,
    autocorrelation,
    divideblock,
    narnet,
    narxnet,
    perform,
    ploterrcorr,
    ploterrhist,
    plotinerrcorr,
    plotperform,
    plotregression,
    plotresponse,
    plottrainstate,
    stability,
    tank,
    timedelaynet,
    train,
)
from forecast.identification.experiment import Standardization
from forecast.system.errors import InputError, ModelError

E = tank(120, noise=0.01)
LABELS = divideblock()(120)


@pytest.fixture(scope="module")
def model():
    return train(narxnet((1,), (1,), 3), E, iterations=10)


@pytest.fixture(scope="module")
def record_of_model(model):
    return model.predict(E.u, E.y).y


def test_bars_are_the_correlations_and_the_band_is_that_of_white_noise(record_of_model) -> None:
    errors = E.y - record_of_model
    axes = ploterrcorr(errors, 10).axes[0]
    heights = [bar.get_height() for bar in axes.patches if bar.get_width() < 1]
    assert len(heights) == 11 and heights[0] == pytest.approx(1.0)
    band = next(patch for patch in axes.patches if patch.get_width() >= 1)
    assert band.get_height() / 2 == pytest.approx(1.96 / np.sqrt(119), abs=1e-3)
    assert len(plotinerrcorr(E.u, errors, 10).axes[0].patches) == 21 + 1


def test_the_response_shows_measured_and_forecast_by_what_rows_were_for(record_of_model) -> None:
    above, below = plotresponse(E.y, record_of_model, LABELS).axes
    drawn = {line.get_label(): line.get_ydata() for line in above.lines}
    np.testing.assert_array_equal(drawn["measured"], E.y[:, 0])
    np.testing.assert_array_equal(
        drawn["forecast (test)"][LABELS == 2], record_of_model[LABELS == 2, 0]
    )
    assert np.isnan(drawn["forecast (test)"][LABELS != 2]).all()
    assert len(plotresponse(E.y, record_of_model, LABELS.tolist()).axes[0].lines) == len(
        above.lines
    )
    assert below.get_ylabel() == "error"


def test_the_regression_line_is_fitted_and_its_r_stands_above() -> None:
    y = np.arange(10.0)
    axes = plotregression(y, 2 * y + 1).axes[0]
    assert axes.get_title() == "R = 1.0000"
    assert "2.000 y +1" in axes.get_legend_handles_labels()[1]


def test_the_histogram_counts_every_error_and_the_curve_marks_the_weights_kept(
    model, record_of_model
) -> None:
    axes = ploterrhist(E.y - record_of_model, LABELS).axes[0]
    assert max(bar.get_y() + bar.get_height() for bar in axes.patches) <= 119
    assert axes.get_legend_handles_labels()[1] == ["train", "validation", "test"]
    curve = plotperform(model.training).axes[0]
    best = min(model.training.curve, key=lambda point: point[2])
    assert curve.get_legend_handles_labels()[1][-1] == f"kept: {best[2]:.3g} at {best[0]}"


def test_without_validation_rows_the_last_weights_are_kept_even_if_not_the_best() -> None:
    """trainbr may raise the error for smaller weights."""
    training = TrainingRecord(
        curve=((0, 1.0, np.nan, 1e-3), (1, 0.1, np.nan, 1e-4), (2, 0.2, np.nan, 1e-5))
    )
    assert plotperform(training).axes[0].get_legend_handles_labels()[1][-1] == "kept: 0.2 at 2"
    assert plottrainstate(training).axes[1].lines[0].get_ydata().tolist() == [0.0, 0.0, 0.0]


def test_labels_of_other_rows_and_a_line_through_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"has shape \(119,\); wanted \(120,\)"):
        plotresponse(E.y, E.y, LABELS[1:])
    with pytest.raises(InputError, match=r"wanted \(120,\), .* such as divideblock\(\)\(120\)"):
        plotresponse(E.y, E.y, divideblock())
    with pytest.raises(InputError, match="no line to fit"):
        plotregression([np.nan, 1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="no line to fit"):
        plotregression([2.0, 2.0], [1.0, 1.0])


@pytest.mark.parametrize("plot", [plotresponse, plotregression])
def test_two_series_of_unequal_rows_are_not_drawn(plot) -> None:
    with pytest.raises(InputError, match="Rows of y: 120, of forecast: 50; wanted one of each"):
        plot(E.y, E.y[:50])


SECOND = np.hstack([E.y, E.y + E.u])


@pytest.mark.parametrize(
    ("plot", "arguments"),
    [
        (ploterrcorr, (SECOND,)),
        (plotinerrcorr, (E.u, SECOND)),
        (plotresponse, (SECOND, SECOND + 1)),
        (plotregression, (SECOND, SECOND + 1)),
        (ploterrhist, (SECOND,)),
    ],
)
def test_of_several_outputs_one_is_asked_for(plot, arguments) -> None:
    with pytest.raises(InputError, match=r"has 2 columns; wanted one, .* Choose it, \w+\[:, "):
        plot(*arguments)
    assert plot(*(each[:, [-1]] for each in arguments)).axes


def test_figures_are_written_as_files(record_of_model, tmp_path) -> None:
    plotresponse(E.y, record_of_model).savefig(tmp_path / "response.png")
    assert (tmp_path / "response.png").read_bytes()[:4] == b"\x89PNG"


LOOPS = [("stable", 0.9), ("marginal", 1.0), ("unstable", 1.2), ("unstable", 1e6)]


@pytest.mark.parametrize(("verdict", "gain"), LOOPS)
def test_loops_are_named_by_what_they_do(verdict, gain) -> None:
    scaling = Standardization(np.zeros(0), np.zeros(0), np.zeros(1), np.ones(1))
    weights = {"readout/kernel": np.array([[gain]]), "readout/bias": np.zeros(1)}
    model = Model(narnet((1,), ()), weights, scaling, y_range=np.array([[0.5], [1.0]]))
    result = stability(model, Experiment(None, np.linspace(0.5, 1, 80)))
    assert result.verdict == verdict


def test_a_trained_tank_is_a_stable_loop() -> None:
    e = tank(300)
    assert stability(train(narxnet((1, 2), (1, 2), 4), e), e).verdict == "stable"


def test_a_loop_is_judged_from_measured_rows() -> None:
    e = tank(100)
    model = train(narxnet((1,), (1,), 2), e, iterations=2)
    gapped = np.array(e.y)
    gapped[0] = np.nan
    with pytest.raises(InputError, match="y is missing before row 1, where"):
        stability(model, Experiment(e.u, gapped))
    with pytest.raises(InputError, match="no loop to close"):
        stability(train(timedelaynet((0, 1), 2), e, iterations=2), e)


def test_the_word_agrees_with_what_the_free_run_then_does() -> None:
    """A loop that grows by 2 % per step is finite over the 96 steps once tried, and lost over the
    record.
    """
    e = tank(1500)
    model = train(narxnet((1,), (1,), ()), e)
    kernel = model.weights["readout/kernel"].copy()
    kernel[0] = 1.02
    wild = replace(model, weights={**model.weights, "readout/kernel": kernel})
    result = stability(wild, e)
    assert result.verdict == "unstable" and result.under == "the record's own inputs"
    with pytest.raises(ModelError, match="diverges"):
        wild.simulate(e.u, e.y[:1])
    assert (
        stability(model, e).verdict == "stable"
        and np.isfinite(model.simulate(e.u, e.y[:1]).y[1:]).all()
    )


def test_a_wide_swing_within_ten_ranges_of_the_record_is_not_lost_for_either() -> None:
    """y[t] = -y[t-1] from 30 deviations away: far outside the record, and still not ten times its
    range.
    """
    scaling = Standardization(np.zeros(0), np.zeros(0), np.zeros(1), np.ones(1))
    weights = {"readout/kernel": np.array([[-1.0]]), "readout/bias": np.zeros(1)}
    model = Model(narnet((1,), ()), weights, scaling, y_range=np.array([[-2.5], [2.5]]))
    start = np.full(40, 30.0)
    assert np.abs(model.simulate(None, start[:1], rows=40).y[1:]).max() == 30.0
    assert stability(model, Experiment(None, start)).verdict == "marginal"


def test_a_set_of_nets_has_no_curve_and_says_so(model) -> None:
    for plot in (plotperform, plottrainstate):
        with pytest.raises(InputError, match="A set of nets has no one curve"):
            plot(Model.average(model, model).training)


def test_a_loop_that_only_inputs_not_measured_make_run_away_is_fragile() -> None:
    """y[t] = (y[t-1] + u[t-1]) / 2 + 10 tanh(200 y[t-1] - 400) + 10: it jumps away where y passes
    2.
    """
    scaling = Standardization(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))
    weights = {
        "paths/0/layer_0/kernel": np.array([[200.0], [0.0]]),
        "paths/0/layer_0/bias": np.array([-400.0]),
        "readout/kernel": np.array([[10.0], [0.5], [0.5]]),
        "readout/bias": np.array([10.0]),
    }
    model = Model(narxnet((1,), (1,), 1), weights, scaling, y_range=np.array([[0.0], [1.96]]))
    u = np.tile(np.repeat([0.0, 1.95], 30), 4)
    y = np.append(0.0, model.simulate(u, [0.0]).y[1:])
    assert y.max() < 1.96
    result = stability(model, Experiment(u, y))
    assert (result.verdict, result.under) == ("fragile", "inputs a tenth larger")


def test_performance_in_numbers() -> None:
    y, y_hat = [1.0, 2.0, np.nan, 4.0], [1.0, 4.0, 5.0, 3.0]
    expected = {"mse": 5 / 3, "mae": 1.0, "sse": 5.0, "sae": 3.0, "rmse": np.sqrt(5 / 3)}
    assert {name: perform(y, y_hat, measure=name) for name in expected} == pytest.approx(expected)
    assert perform(y, y_hat, [1, 0.5, 1, 0], "sse") == 2.0
    assert perform(y, y_hat, [1, 0.5, 1, 0], "mse") == 2.0 / 1.5
    for name in ("RMSE", "nrmse"):  # any other word was the mean squared error
        with pytest.raises(InputError, match=f"`measure` is '{name}'; wanted one of .'mse'"):
            perform(y, y_hat, measure=name)
    with pytest.raises(InputError, match=r"y has shape \(2, 1\) and the forecast \(3, 1\)"):
        perform([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="No row that counts has both"):
        perform([np.nan], [1.0])


def test_fit_nmse_and_variance_accounted_for_in_numbers() -> None:
    y = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, np.nan]])
    forecast = y + np.array([[1.0, 10.0], [1.0, -10.0], [1.0, 0.0]])
    nmse = (1 / (8 / 3) + 100 / 100) / 2  # variance 8/3 of the first, 100 of the second
    assert perform(y, forecast, measure="nmse") == pytest.approx(nmse)
    fit = 100 * (1 - (np.sqrt(3 / 8) + 1) / 2)
    assert perform(y, forecast, measure="fit") == pytest.approx(fit)
    # the constant error of the first output costs nothing
    assert perform(y, forecast, measure="vaf") == pytest.approx((100 + 0) / 2)
    for constant in (1.0, 0.1):  # the mean of seven times .1 is not .1
        with pytest.raises(InputError, match="y is constant where it counts"):
            perform([constant] * 7, [2.0] * 7, measure="fit")


@pytest.mark.parametrize("measure", ["fit", "nmse", "vaf"])
@pytest.mark.parametrize("second, weight", [(np.nan, None), (4.0, [[1, 0]] * 3)])
def test_an_output_without_a_row_that_counts_has_no_relative_error(measure, second, weight) -> None:
    """It ended in a ZeroDivisionError."""
    y = [[1.0, second], [2.0, second], [3.0, second]]
    with pytest.raises(InputError, match="No row that counts has both"):
        perform(y, np.ones((3, 2)), weight, measure)


@pytest.mark.parametrize("weight", [[1, 1], [1, -1, 1], [1, np.nan, 1], [[1, 1]] * 3])
def test_weights_of_a_performance_are_checked_as_those_of_an_experiment(weight) -> None:
    """They gave a ValueError, an infinity, a NaN and a mean over rows that are none."""
    with pytest.raises(
        InputError,
        match=r"`weight` has (shape .* wanted \(3, 1\) or \(3,\)|a value below 0 or missing)",
    ):
        perform([1, 2, 3], [1, 2, 4], weight)


@pytest.mark.parametrize("look", [ploterrcorr, ploterrhist, autocorrelation])
def test_errors_that_a_vector_minus_a_column_made_a_square_are_refused(look) -> None:
    """They drew .99 for a correlation of .28 without a word."""
    square = E.y[:, 0] - E.y
    with pytest.raises(InputError, match="as many columns as rows: a vector"):
        look(square)
    with pytest.raises(InputError, match="as many columns as rows: a vector"):
        perform(square, square)
