"""Levenberg-Marquardt on the networks of the catalogue: their derivatives, and that they learn by
them.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from forecast.networks import cells
from forecast.networks.description import (
    Block,
    Dense,
    Network,
    Parallel,
    Recurrent,
    Shapes,
    Taps,
)
from forecast.training import levenberg_marquardt as lm
from forecast.training.chunks import TrainingSeries
from forecast.training.network_problem import (
    NetworkProblem,
    OneLayerProblem,
    find_hidden_layer,
    fit,
    make_problem,
    restart_seeds,
)

HORIZON, CHANNELS, FUTURE = 2, 2, 1


def network_of(*blocks: Block, future: bool = True) -> Network:
    shapes = Shapes(CHANNELS, FUTURE if future else 0, HORIZON, 1, lookback=8)
    return Network(blocks, shapes, future_units=2 if future else 0)


def series_of(rows: int, seed: int) -> TrainingSeries:
    rng = np.random.default_rng(seed)
    weight = np.ones((rows, HORIZON, 1), np.float32)
    weight[3] = 0.0
    return TrainingSeries(
        past=rng.normal(size=(rows, CHANNELS)).astype(np.float32),
        future=rng.normal(size=(rows + HORIZON, FUTURE)).astype(np.float32),
        target=rng.normal(size=(rows, HORIZON, 1)).astype(np.float32),
        sample_weight=weight,
    )


def cell_options(name: str) -> dict[str, object]:
    return {"targets": (0,)} if name == "jordan" else {}


def check_against_differences(problem: NetworkProblem, weights: np.ndarray) -> None:
    """Along random directions: a wrong derivative of any weight shows in every one of them."""
    parts = list(problem.blocks(weights))
    error, exact = (
        np.concatenate([e for e, _ in parts]),
        np.concatenate([j for _, j in parts], axis=1),
    )
    np.testing.assert_allclose(problem.residuals(weights), error, rtol=1e-10, atol=1e-12)
    for direction in np.random.default_rng(7).normal(size=(3, problem.n_weights)):
        step = 1e-6 * direction
        change = problem.residuals(weights + step) - problem.residuals(weights - step)
        np.testing.assert_allclose(direction @ exact, change / 2e-6, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(cells.catalogue()))
def test_the_jacobian_of_every_cell_equals_central_differences(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm, "block_rows", lambda *_: 5)
    network = network_of(Recurrent("cell", name, 3, cell_options(name)), future=name != "jordan")
    series = [series_of(12, 0), series_of(9, 1)]
    if name == "jordan":
        series = [
            TrainingSeries(s.past, s.future[:, :0], s.target, s.sample_weight) for s in series
        ]
    problem = NetworkProblem(network, series, burn_in=2)
    check_against_differences(problem, problem.draw_start(0))


@pytest.mark.parametrize(
    "blocks",
    [
        (
            Taps("taps", (0, 1, 3)),
            Dense("first", 3),
            Taps("later", (0, 2)),
            Dense("second", 2, "softplus"),
        ),
        (Recurrent("low", "gru", 2), Taps("taps", (0, 2)), Recurrent("high", "lstm", 2)),
        (Parallel("both", ((Dense("a", 2, "sigmoid"),), (Recurrent("b", "simple_rnn", 2),))),),
        (Parallel("bare", ((Dense("a", 2, "relu"),), (Taps("t", (1,), (0, 1)),))),),
    ],
    ids=[
        "delays in two layers",
        "stacked",
        "parallel",
        "beside bare inputs",
    ],
)
def test_the_jacobian_of_composed_networks_equals_central_differences(
    blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm, "block_rows", lambda *_: 5)
    network = network_of(*blocks, future=not isinstance(blocks[0], Parallel))
    series = [series_of(12, 0)]
    if not network.future_units:
        series = [
            TrainingSeries(s.past, s.future[:, :0], s.target, s.sample_weight) for s in series
        ]
    problem = NetworkProblem(network, series)
    check_against_differences(problem, problem.draw_start(0))


TAPS = Parallel("delays", ((Taps("y", (0, 2), (0,)),), (Taps("x", (1, 3), (1,)),)))
ONE_LAYER = {
    "tanh": (TAPS, Dense("h", 3)),
    "tanh beside a linear path": (TAPS, Parallel("paths", ((Dense("h", 3),), ()))),
    "no hidden units": (Taps("x", (0, 1, 4)),),
    "no taps": (Dense("h", 2),),
}


@pytest.mark.parametrize("blocks", ONE_LAYER.values(), ids=ONE_LAYER)
def test_one_hidden_layer_has_the_derivatives_of_the_general_way(
    blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm, "block_rows", lambda *_: 5)
    network = network_of(*blocks, future=False)
    series = [
        TrainingSeries(s.past, s.future[:, :0], s.target, s.sample_weight)
        for s in (series_of(12, 0), series_of(9, 1))
    ]
    general, one_layer = (
        kind(network, series, burn_in=2) for kind in (NetworkProblem, OneLayerProblem)
    )
    weights = general.draw_start(3)
    for computed, expected in zip(
        lm.normal_equations(one_layer, weights), lm.normal_equations(general, weights), strict=True
    ):
        np.testing.assert_allclose(computed, expected, rtol=1e-10, atol=1e-12)
    assert one_layer.loss(weights) == pytest.approx(general.loss(weights), rel=1e-12)
    assert one_layer.n_residuals == general.n_residuals
    check_against_differences(one_layer, one_layer.draw_start(3))


def test_the_short_way_is_many_times_as_fast_on_a_long_record() -> None:
    """5 + 5 taps and 10 tanh units beside a linear path, as a NARX net has."""
    taps = Parallel("delays", tuple((Taps(n, (0, 1, 2, 3, 4), (c,)),) for c, n in enumerate("yx")))
    network = Network(
        (taps, Parallel("paths", ((Dense("h", 10),), ()))), Shapes(2, 0, 1, 1, lookback=8)
    )
    long = series_of(10_000, 0)
    series = [
        TrainingSeries(long.past, long.future[:, :0], long.target[:, :1], long.sample_weight[:, :1])
    ]
    seconds = []
    with threadpool_limits(1):
        for kind in (NetworkProblem, OneLayerProblem):
            problem = kind(network, series)
            weights = problem.draw_start(0)
            began = time.process_time()
            lm.normal_equations(problem, weights)
            seconds.append(time.process_time() - began)
    assert seconds[0] > 5 * seconds[1]


def test_only_what_has_one_tanh_layer_goes_the_short_way() -> None:
    others = (
        (TAPS, Dense("a", 2), Dense("b", 2)),
        (Dense("a", 2, "relu"),),
        (Recurrent("r", "elman", 2),),
    )
    assert [find_hidden_layer(network_of(*blocks, future=False)) for blocks in others] == [None] * 3
    # known-future columns pass a layer of their own
    assert find_hidden_layer(network_of(TAPS, Dense("h", 3))) is None
    assert (
        find_hidden_layer(network_of(*ONE_LAYER["tanh beside a linear path"], future=False))
        == "paths/0/h"
    )


def test_a_small_elman_net_learns_a_product_over_time_that_no_linear_model_can() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, size=(400, 1))
    target = np.zeros((400, 1, 1))
    target[2:, 0, 0] = u[1:-1, 0] * u[:-2, 0]
    series = TrainingSeries(u, np.zeros((401, 0)), target, np.ones_like(target))
    network = Network((Recurrent("h", "elman", 8),), Shapes(1, 0, 1, 1, lookback=400))
    _, run = fit(
        make_problem(network, [series], burn_in=5), seeds=[1], options=lm.Options(max_iterations=40)
    )
    assert run.curve[-1][1] < 0.05 * target.var()


def test_the_best_restart_on_validation_is_returned_by_name() -> None:
    network = network_of(Dense("h", 2), future=False)
    series = [
        TrainingSeries(s.past, s.future[:, :0], s.target, s.sample_weight)
        for s in [series_of(30, 0)]
    ]
    weights, run = fit(
        make_problem(network, series, lambda w: float(np.abs(w["readout/bias"]).sum())),
        seeds=[0, 1],
        options=lm.Options(5),
    )
    assert set(weights) == {"h/kernel", "h/bias", "readout/kernel", "readout/bias"}
    assert run.score == 0.0


def test_no_two_seeds_share_a_start() -> None:
    starts = [set(restart_seeds(seed, 5)) for seed in range(20)]
    assert all(len(seed_starts) == 5 for seed_starts in starts)
    assert len(set.union(*starts)) == 100
    assert restart_seeds(7, 1) == [7]
