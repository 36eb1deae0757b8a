"""Finding a cell by name, what its options refuse, and the functions cells are written in."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.networks import cells
from forecast.networks.cells.base import activate, numpy_namespace
from forecast.system.errors import InputError


@pytest.mark.parametrize(
    ("cell", "options", "pattern"),
    [
        ("state_space", {"hidden": []}, "hidden"),
        ("multi_delay", {"delays": [2, 1]}, "delays"),
        ("multi_delay", {"delays": []}, "delays"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(cell, options, pattern):
    with pytest.raises(InputError, match=f"`{pattern}` is .*wanted"):
        cells.get(cell, 4, options)


def test_lists_and_tuples_are_the_same_options():
    assert cells.get("multi_delay", 4, {"delays": [1, 2]}) == cells.get(
        "multi_delay", 4, {"delays": (1, 2)}
    )


@pytest.mark.parametrize("name", sorted(cells.catalogue()))
def test_every_cell_states_equation_and_weights(name):
    text = cells.catalogue()[name].__doc__
    assert "=" in text
    assert "Weights" in text
    assert any(year in text for year in ("19", "20")) or "MATLAB" in text


@pytest.mark.parametrize("name", sorted(cells.catalogue()))
def test_states_and_outputs_have_the_promised_sizes(name):
    cell = cells.get(name, 3)
    w = {key: np.ones(weight.shape) for key, weight in cell.weight_specs(2).items()}
    states = cell.initial_states(numpy_namespace, w, 5)
    output, after = cell.step(numpy_namespace, w, np.ones((5, 2)), states)
    assert output.shape == (5, 3)
    assert {key: state.shape for key, state in after.items()} == {
        k: (5, size) for k, size in cell.states().items()
    }


@pytest.mark.parametrize("name", sorted(cells.catalogue()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_states_are_zero_in_the_dtype_of_the_weights(name, dtype):
    cell = cells.get(name, 3)
    w = {key: np.ones(weight.shape, dtype) for key, weight in cell.weight_specs(2).items()}
    first = cell.initial_states(numpy_namespace, w, 2)
    assert first.keys() == cell.states().keys()
    for state, rows in first.items():
        assert rows.dtype == dtype
        assert rows.tolist() == [[0.0] * cell.states()[state]] * 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sigmoid_neither_overflows_nor_leaves_its_range(dtype):
    x = np.array([-1e4, -2, 0, 2, 1e4], dtype)
    y = numpy_namespace.sigmoid(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [0, 0.11920292202211755, 0.5, 0.8807970779778823, 1], atol=1e-7)


def test_the_smoothed_relu_does_not_overflow():
    y = activate(numpy_namespace, "softplus", np.array([-1e4, 0.0, 1e4], "float32"))
    np.testing.assert_allclose(y, [0, 0.6931472, 1e4])
    assert y.dtype == np.float32


def test_linear_activation_is_the_identity():
    x = np.array([1.5, -2])
    assert activate(numpy_namespace, "linear", x) is x


def test_a_product_takes_any_number_of_leading_axes():
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(numpy_namespace.matmul(a, b), np.einsum("ijk,kl->ijl", a, b))
