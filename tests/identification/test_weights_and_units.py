"""Unusual weights and units: only ratios of weights act, constants never, and dates are no
numbers.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.identification.experiment import Experiment, Standardization, normalise_weights
from forecast.system.errors import InputError


@pytest.mark.parametrize("value", [0.1, 0.3, 1e9 + 0.1, 0.0])
def test_an_input_that_is_constant_to_all_digits_never_acts_although_its_deviation_is_not_exactly_0(
    value,
) -> None:
    u = np.full((421, 1), value)
    scaling = Standardization.fit([Experiment(u, np.arange(421.0))])
    assert np.abs(scaling.scale_u(np.append(u, [[2 * value + 1]], axis=0))).max() < 1e-150


def test_only_the_ratios_of_weights_are_left_of_them_over_all_experiments() -> None:
    y = [0.0, np.nan, 1.0, 2.0]
    first, second = normalise_weights(
        [Experiment(None, y, [1e-9, 5.0, 3e-9, 0.0]), Experiment(None, y, [2e-9] * 4)]
    )
    np.testing.assert_allclose(first.error_weights[:, 0], [0.5, 0.0, 1.5, 0.0])
    np.testing.assert_allclose(second.error_weights[:, 0], [1.0, 0.0, 1.0, 1.0])
    alone = Experiment(None, y)
    (same,) = normalise_weights([alone])
    np.testing.assert_array_equal(same.error_weights, alone.error_weights)


@pytest.mark.parametrize(
    "values", [np.array(["2020-01-01", "2020-01-02"], "M8[ns]"), [1 + 1j, 2.0]]
)
def test_dates_and_complex_numbers_are_no_series(values) -> None:
    with pytest.raises(InputError, match="`u` is no table of numbers"):
        Experiment(values, [0.0, 1.0])


def test_a_cell_array_of_a_mat_file_is_refused_with_the_line_that_turns_it() -> None:
    cells = np.empty((1, 3), dtype=object)  # as scipy.io.loadmat gives {[1;2] [3;4] [5;6]}
    for time in range(3):
        cells[0, time] = np.array([[2 * time + 1.0], [2 * time + 2.0]])
    with pytest.raises(InputError, match=r"MATLAB `numpy\.hstack\(cells\.ravel\(\)\)\.T`"):
        Experiment(cells, np.arange(3.0))
    experiment = Experiment(np.hstack(cells.ravel()).T, np.arange(3.0))
    assert experiment.u.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
