"""The performance of a net as a number (`perform`), and MATLAB's plots as matplotlib figures.

For a user's script. Each `plot...` returns a figure with `.savefig(path)`. Of several outputs or
inputs give the one to draw, as `y[:, [0]]`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from forecast.identification.data import BLOCK_NAMES, Labels
from forecast.identification.delays import Correlation, autocorrelation, cross_correlation
from forecast.identification.experiment import (
    Array,
    error_columns,
    require_equal_rows,
    single_column,
    weight_columns,
)
from forecast.identification.model import TrainingRecord
from forecast.system.errors import InputError

Figure = Any
Measure = Literal["mse", "mae", "sse", "sae", "rmse", "fit", "nmse", "vaf"]

COLOURS = {"all": "#4269d0", "train": "#4269d0", "validation": "#3ca951", "test": "#ff725c"}
INK, BAND_COLOUR = "#333333", "#c9302c"


def perform(
    y: npt.ArrayLike,
    forecast: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    measure: Measure = "mse",
) -> float:
    """How near `forecast` (T, O) is to the measured y (T, O), as one number. Values that are NaN in
    either do not count.

    Over all outputs, as MATLAB's perform: "mae" and "sae", the mean and the sum of absolute errors;
    "mse" and "sse", the same of squared errors; "rmse", the root of "mse".

    Relative to y, as a mean over the outputs: "nmse", the mean squared error over the variance of
    y; "fit", 100 (1 - root of nmse) % (NRMSE fit, as MATLAB's `compare` shows it); "vaf", variance
    accounted for, 100 (1 - variance of the error / variance of y) %. Of "fit" and "vaf" the higher
    is the better, of all others the lower.

    `weight` (T, O) or (T,), as `Experiment.weight`: the weight of each error in mean or sum.

    `InputError` for unequal shapes, where no row counts (in one output, if relative to y), for a
    measure relative to a constant y, and for another weight or measure.
    """
    if measure not in get_args(Measure):
        raise InputError(f"`measure` is {measure!r}; wanted one of {get_args(Measure)}.")
    measured = error_columns("y", y)
    predicted = error_columns("forecast", forecast)
    if measured.shape != predicted.shape:
        raise InputError(
            f"y has shape {measured.shape} and the forecast {predicted.shape}; wanted equal shapes."
        )
    error = measured - predicted
    error_weights = np.isfinite(error) * (
        1.0 if weight is None else weight_columns(weight, measured)
    )
    is_relative = measure in ("fit", "nmse", "vaf")
    if not (error_weights.any(axis=0).all() if is_relative else error_weights.any()):
        raise InputError(
            "No row that counts has both a measured value and a forecast. Leave out the rows that"
            ' fill the delays, and for "fit", "nmse" and "vaf" an output without any.'
        )
    if is_relative:
        return _relative_performance(measured, np.nan_to_num(error), error_weights, measure)
    size = np.abs(error) if measure in ("mae", "sae") else error**2
    total = float(np.nansum(size * error_weights))
    if measure not in ("sse", "sae"):
        total /= error_weights.sum()
    return float(np.sqrt(total)) if measure == "rmse" else total


def _relative_performance(y: Array, error: Array, error_weights: Array, measure: Measure) -> float:
    """A measure relative to y, as a mean over the outputs; y, error and weights are (T, O).
    `InputError` for a constant y.
    """
    mean = np.average(np.nan_to_num(y), axis=0, weights=error_weights)
    variance = np.average((np.nan_to_num(y) - mean) ** 2, axis=0, weights=error_weights)
    # rounding gives a constant a variance, too
    if not (np.sqrt(variance) > 1e-14 * np.abs(mean)).all():
        raise InputError(f"y is constant where it counts; {measure!r} needs it to move.")
    if measure == "vaf":
        error = error - np.average(error, axis=0, weights=error_weights)
    nmse = np.average(error**2, axis=0, weights=error_weights) / variance
    if measure == "nmse":
        return float(nmse.mean())
    unexplained = nmse if measure == "vaf" else np.sqrt(nmse)  # of the variance, or its root
    return float(100 * (1 - unexplained.mean()))


def ploterrcorr(errors: npt.ArrayLike, longest: int = 20) -> Figure:
    """The autocorrelation of one-step errors with its 95 % band. Where all bars from delay 1 on lie
    inside the band, the errors have nothing more to learn from y.
    """
    correlation = autocorrelation(single_column("errors", errors), longest)
    return _plot_correlation(correlation, "Autocorrelation of the errors")


def plotinerrcorr(u: npt.ArrayLike, errors: npt.ArrayLike, longest: int = 20) -> Figure:
    """The correlation of an input with one-step errors. Bars beyond the band at delays above 0 show
    that the input explains more than the net has learnt.
    """
    correlation = cross_correlation(single_column("u", u), single_column("errors", errors), longest)
    return _plot_correlation(correlation, "Correlation of u[t - delay] with the error at t")


def plotresponse(y: npt.ArrayLike, forecast: npt.ArrayLike, labels: Labels | None = None) -> Figure:
    """Measured y and forecast over time, with the errors below; `labels` (T,), of a divide
    function, colour train, validation and test rows.
    """
    measured, predicted = _both_columns(y, forecast)
    figure, (above, below) = _figure(2, sharex=True, height_ratios=[3, 1])
    rows = np.arange(len(measured))
    above.plot(rows, measured, color=INK, lw=1.2, label="measured")
    for name, in_part in _split_by_label(labels, len(rows)).items():
        values = np.where(in_part, predicted, np.nan)
        above.plot(rows, values, ".", ms=4, color=COLOURS[name], label=f"forecast ({name})")
        error = np.nan_to_num(measured - values)
        below.vlines(rows, 0, error, color=COLOURS[name], lw=0.8)
    above.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=4, frameon=False, fontsize=8)
    above.set(ylabel="y")
    below.axhline(0, color=INK, lw=0.6)
    below.set(xlabel="row", ylabel="error")
    return figure


def plotregression(y: npt.ArrayLike, forecast: npt.ArrayLike) -> Figure:
    """The forecast over measured y, with the fitted line and the correlation R; `InputError` for
    fewer than two different y with a forecast.
    """
    measured, predicted = _both_columns(y, forecast)
    both = np.isfinite(measured) & np.isfinite(predicted)
    measured, predicted = measured[both], predicted[both]
    if len(set(measured)) < 2:
        raise InputError(
            "Fewer than two different measured values have a forecast; there is no line to fit."
        )
    slope, offset = np.polyfit(measured, predicted, 1)
    figure, (axes,) = _figure(1, size=(4.6, 4.6))
    ends = np.array([measured.min(), measured.max()])
    axes.plot(ends, ends, ":", color=INK, lw=1, label="forecast = measured")
    axes.plot(measured, predicted, ".", ms=4, color=COLOURS["train"])
    label = f"{slope:.3f} y {offset:+.3g}"
    axes.plot(ends, slope * ends + offset, color=COLOURS["test"], lw=1.2, label=label)
    axes.set_title(f"R = {np.corrcoef(measured, predicted)[0, 1]:.4f}")
    _label_axes(axes, "measured", "forecast")
    return figure


def ploterrhist(errors: npt.ArrayLike, labels: Labels | None = None, bins: int = 20) -> Figure:
    """A histogram of the errors, stacked by train, validation and test rows."""
    error = single_column("errors", errors)
    parts = _split_by_label(labels, len(error))
    figure, (axes,) = _figure(1)
    axes.hist(
        [error[in_part & np.isfinite(error)] for in_part in parts.values()],
        bins=bins,
        stacked=True,
        color=[COLOURS[name] for name in parts],
        label=list(parts),
    )
    axes.axvline(0, color=INK, lw=1)
    _label_axes(axes, "error (measured - forecast)", "rows")
    return figure


def plotperform(training: TrainingRecord) -> Figure:
    """The mean squared error by iteration, scaled, and the iteration whose weights were kept."""
    step, train, validation, _ = _curve(training)
    figure, (axes,) = _figure(1)
    axes.semilogy(step, train, color=COLOURS["train"], label="train")
    errors = train
    best = len(step) - 1  # trainbr's error may rise at last
    if np.isfinite(validation).any():
        errors = validation
        best = int(np.nanargmin(validation))
        axes.semilogy(step, validation, color=COLOURS["validation"], label="validation")
    label = f"kept: {errors[best]:.3g} at {step[best]:.0f}"
    axes.axvline(step[best], color=INK, lw=0.8, ls=":", label=label)
    _label_axes(axes, "iteration", "mean squared error, scaled")
    return figure


def plottrainstate(training: TrainingRecord) -> Figure:
    """The damping mu by iteration, and the iterations since the validation error was lowest."""
    step, _, validation, mu = _curve(training)
    lowest = step
    if np.isfinite(validation).any():
        best = np.fmin.accumulate(validation)
        lowest = np.maximum.accumulate(np.where(validation <= best, step, 0))
    figure, (above, below) = _figure(2, sharex=True)
    above.semilogy(step, mu, color=COLOURS["train"])
    above.set(ylabel="mu")
    below.plot(step, step - lowest, color=COLOURS["validation"])
    below.set(xlabel="iteration", ylabel="iterations since the best")
    return figure


def _curve(training: TrainingRecord) -> Array:
    """(4, iterations): iteration, training error, validation error (NaN without one) and mu;
    `InputError` for a set of nets, which has no curve.
    """
    if not training.curve:
        raise InputError(
            "A set of nets has no one curve. Plot that of a net of `train` or `train_parallel`."
        )
    return np.array(training.curve).T


def _both_columns(y: npt.ArrayLike, forecast: npt.ArrayLike) -> tuple[Array, Array]:
    """The only column (T,) of y and that of the forecast; `InputError` for unequal rows."""
    measured = single_column("y", y)
    predicted = single_column("forecast", forecast)
    require_equal_rows(y=measured, forecast=predicted)
    return measured, predicted


def _plot_correlation(correlation: Correlation, title: str) -> Figure:
    """Bars of the correlations over the delays, on the band of white noise."""
    figure, (axes,) = _figure(1)
    band = correlation.band
    axes.axhspan(-band, band, color=BAND_COLOUR, alpha=0.12, lw=0, label="95 % band of white noise")
    axes.bar(correlation.lags, correlation.values, width=0.6, color=COLOURS["train"])
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_title(title, fontsize=10)
    _label_axes(axes, "delay in steps", "correlation")
    return figure


def _figure(
    rows: int, size: tuple[float, float] = (7.0, 3.6), **options: Any
) -> tuple[Figure, list[Any]]:
    """A figure and its axes, one below the other."""
    from matplotlib import figure as figures

    figure = figures.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **options)[:, 0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _label_axes(axes: Any, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=8)


def _split_by_label(labels: Labels | None, rows: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks (T,) of the train, validation and test rows by name; of all rows without labels.
    `InputError` for labels of another shape, and for a divide function in their place.
    """
    if labels is None:
        return {"all": np.ones(rows, dtype=bool)}
    if np.shape(labels) != (rows,):
        raise InputError(
            f"`labels` has shape {np.shape(labels)}; wanted ({rows},), one for each row, such as"
            f" divideblock()({rows})."
        )
    return {name: np.equal(labels, label) for label, name in BLOCK_NAMES.items() if label in labels}
