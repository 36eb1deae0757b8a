"""MATLAB's plots: that they show the numbers they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.identification import (
    divideblock,
    narxnet,
    ploterrcorr,
    ploterrhist,
    plotinerrcorr,
    plotperform,
    plotregression,
    plotresponse,
    tank,
    train,
)
from forecast.system.errors import InputError

E = tank(120, noise=0.01)
LABELS = divideblock()(120)


@pytest.fixture(scope="module")
def model():
    return train(narxnet((1,), (1,), 3), E, iterations=10)


@pytest.fixture(scope="module")
def found(model):
    return model.series_parallel(E.u, E.y).y


def test_bars_are_the_correlations_and_the_band_is_that_of_white_noise(found) -> None:
    errors = E.y - found
    axes = ploterrcorr(errors, 10).axes[0]
    heights = [bar.get_height() for bar in axes.patches if bar.get_width() < 1]
    assert len(heights) == 11 and heights[0] == pytest.approx(1.0)
    band = next(patch for patch in axes.patches if patch.get_width() >= 1)
    assert band.get_height() / 2 == pytest.approx(1.96 / np.sqrt(119), abs=1e-3)
    assert len(plotinerrcorr(E.u, errors, 10).axes[0].patches) == 21 + 1


def test_the_response_shows_measured_and_forecast_by_what_rows_were_for(found) -> None:
    above, below = plotresponse(E.y, found, LABELS).axes
    drawn = {line.get_label(): line.get_ydata() for line in above.lines}
    np.testing.assert_array_equal(drawn["measured"], E.y[:, 0])
    np.testing.assert_array_equal(drawn["forecast (test)"][LABELS == 2], found[LABELS == 2, 0])
    assert np.isnan(drawn["forecast (test)"][LABELS != 2]).all()
    assert below.get_ylabel() == "error"


def test_the_regression_line_is_fitted_and_its_r_stands_above() -> None:
    y = np.arange(10.0)
    axes = plotregression(y, 2 * y + 1).axes[0]
    assert axes.get_title() == "R = 1.0000"
    assert "2.000 y +1" in axes.get_legend_handles_labels()[1]


def test_the_histogram_counts_every_error_and_the_curve_marks_the_weights_kept(model, found) -> None:
    axes = ploterrhist(E.y - found, LABELS).axes[0]
    assert max(bar.get_y() + bar.get_height() for bar in axes.patches) <= 119
    assert axes.get_legend_handles_labels()[1] == ["train", "validation", "test"]
    curve = plotperform(model.training).axes[0]
    best = min(model.training.curve, key=lambda point: point[2])
    assert curve.get_legend_handles_labels()[1][-1] == f"kept: {best[2]:.3g} at {best[0]}"


def test_labels_of_other_rows_and_a_line_through_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="119 labels for 120 rows"):
        plotresponse(E.y, E.y, LABELS[1:])
    with pytest.raises(InputError, match="no line to fit"):
        plotregression([np.nan, 1.0], [1.0, 1.0])


def test_figures_are_written_as_files(found, tmp_path) -> None:
    plotresponse(E.y, found).savefig(tmp_path / "response.png")
    assert (tmp_path / "response.png").read_bytes()[:4] == b"\x89PNG"
