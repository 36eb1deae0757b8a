"""The NARX net: its loops, its bounds, and the state between two rows."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.identification.experiment import Experiment
from forecast.identification.loops import SetLoop
from forecast.identification.narx import Narx
from tests.identification.systems import net_of, weights_of


def test_a_closed_loop_fed_with_its_own_output_equals_the_open_loop() -> None:
    net = net_of(2, 1, None)
    weights, u = weights_of(net), np.random.default_rng(3).normal(size=(30, 2))
    run = net.free_run(weights, u, np.zeros((5, 1)))
    z = net.open_loop_regressors(Experiment(u, run), 5)
    np.testing.assert_allclose(net.layer.value(weights, z), run[5:], rtol=1e-12)


def test_an_output_beyond_its_bound_where_the_truth_sits_on_it_is_no_error() -> None:
    net = net_of(1, 1, 0.5)
    error = net.residual(np.array([[0.9], [0.9], [-0.9]]), np.array([[0.5], [0.2], [-0.5]]))
    np.testing.assert_allclose(error[:, 0], [0.0, 0.7, 0.0])


@pytest.mark.parametrize("bound", [None, 0.4])
@pytest.mark.parametrize("lengths", [[30], [1] * 30, [7, 1, 22]], ids=str)
def test_a_free_run_in_pieces_is_the_same_to_the_last_bit(
    lengths: list[int], bound: float | None
) -> None:
    net = net_of(2, 3, bound)
    weights, u = weights_of(net), np.random.default_rng(3).normal(size=(35, 2))
    whole = net.free_run(weights, u, np.full((5, 3), 0.1))
    _, memory = net.loop(weights, net.begin(u), u[:5], np.full((5, 3), 0.1))
    pieces = []
    for part in np.split(u[5:], np.cumsum(lengths)[:-1]):
        run, memory = net.loop(weights, memory, part)
        pieces.append(run)
    np.testing.assert_array_equal(np.concatenate(pieces), whole[5:])


def test_a_loop_feeds_back_y_where_it_is_measured_and_its_own_bounded_output_elsewhere() -> None:
    net = Narx(0, 1, (1,), (), 0, True, (-1.0,), (1.0,))
    double = np.array([0.0, 2.0])  # b2, W3: v[t] = 2 y[t-1]
    before = net.begin(np.zeros((4, 0)))
    run, after = net.loop(
        double, before, np.zeros((4, 0)), np.array([[0.25], [np.nan], [np.nan], [3.0]])
    )
    assert run[:, 0].tolist() == [0.0, 0.5, 1.0, 2.0]
    assert after.y.tolist() == [[3.0]]
    assert net.loop(double, after, np.zeros((2, 0)))[0][:, 0].tolist() == [6.0, 2.0]


@pytest.mark.parametrize(
    "net",
    [
        net_of(2, 3, 0.4),
        Narx(2, 3, (1,), (0, 1), 0, held_back_rows=((0, 2), (4,)), states=2),
        Narx(2, 1, (1, 3), (0,), 0, low=(-2.0,), high=(2.0,), terms=((), (0,), (1, 2), (3,))),
    ],
    ids=["net", "states", "polynomial"],
)
def test_free_runs_side_by_side_are_those_one_after_the_other(net: Narx) -> None:
    rng = np.random.default_rng(4)
    weights = 0.3 * rng.normal(size=(4, net.n_weights))
    u = rng.normal(size=(30, 2))
    first_rows = rng.normal(size=(5, net.measured_outputs))
    runs = net.free_run(weights, u, first_rows)
    single = np.stack([net.free_run(each, u, first_rows) for each in weights], axis=1)
    np.testing.assert_allclose(runs, single, rtol=1e-12, atol=1e-14)
    assert np.ptp(runs[5:], axis=1).max() > 0.1


@pytest.mark.parametrize("y_known", [True, False])
def test_nets_of_a_set_that_are_alike_run_side_by_side_as_each_alone(y_known: bool) -> None:
    """Each from a state of its own, with another net between them."""
    rng = np.random.default_rng(5)
    net, other = Narx(1, 3, (1,), (0, 1), 4, states=2), Narx(1, 1, (1, 2), (0,), 3)
    loops = (net, other, net, net)
    weights = [0.3 * rng.normal(size=loop.n_weights) for loop in loops]
    u, y = rng.normal(size=(40, 1)), rng.normal(size=(40, 1))
    y[12:15] = np.nan
    together = SetLoop(loops)
    before = together.absorb(weights, u[:10], y[:10])
    measured = y[10:] if y_known else None
    runs, after = together.member_runs(weights, before, u[10:], measured)
    parts = zip(loops, weights, before, strict=True)
    for number, (loop, flat, memory) in enumerate(parts):
        run, single = loop.loop(flat, memory, u[10:], measured)
        np.testing.assert_allclose(runs[number], run, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(after[number].y, single.y, rtol=1e-12, atol=1e-14)
