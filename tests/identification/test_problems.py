"""The least-squares problems of a NARX net: exact derivatives of both loops, weights, gaps,
memory.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from forecast.identification import problems
from forecast.identification.experiment import Experiment
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop, OpenLoop
from forecast.system.errors import ModelError
from forecast.training import levenberg_marquardt as lm
from tests.identification.systems import net_of, weights_of

SHAPES = [(1, 1, None), (2, 1, 0.5), (2, 3, None), (2, 3, 0.4)]


def experiments_of(net: Narx, seed: int = 0) -> list[Experiment]:
    rng = np.random.default_rng(seed)
    experiments = []
    for rows in (40, 33, 25):
        y = 0.5 * rng.normal(size=(rows, net.outputs))
        y[10, 0] = np.nan
        experiments.append(Experiment(rng.normal(size=(rows, net.inputs)), y))
    experiments[1] = Experiment(
        experiments[1].u, experiments[1].y, np.full_like(experiments[1].y, 0.0625)
    )
    return experiments


def numeric_jacobian(problem: OpenLoop | ClosedLoop, weights: np.ndarray) -> np.ndarray:
    def residual(at: np.ndarray) -> np.ndarray:
        return np.concatenate([error for error, _ in problem.blocks(at)])

    step = 1e-6 * np.eye(len(weights))
    return np.array([(residual(weights + s) - residual(weights - s)) / 2e-6 for s in step])


@pytest.mark.parametrize("kind", [OpenLoop, ClosedLoop])
@pytest.mark.parametrize(
    ("inputs", "outputs", "bound", "rows_per_block"),
    [(2, 3, 0.4, 10_000), *((*shape, 9) for shape in SHAPES)],
)
def test_the_jacobian_equals_central_differences(
    kind: type,
    inputs: int,
    outputs: int,
    bound: float | None,
    rows_per_block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(problems, "block_rows", lambda *_: rows_per_block)
    net = net_of(inputs, outputs, bound)
    problem, weights = kind(net, experiments_of(net), 5), weights_of(net)
    exact = np.concatenate([jacobian for _, jacobian in problem.blocks(weights)], axis=1)
    error = np.abs(exact - numeric_jacobian(problem, weights)).max()
    assert error < 1e-7 * (1 + np.abs(exact).max())


def test_the_one_output_jacobian_equals_the_complex_step_to_rounding() -> None:
    net = net_of(1, 1, None)
    experiment = experiments_of(net)[0]
    experiment = Experiment(experiment.u, np.nan_to_num(experiment.y))
    weights = weights_of(net)
    exact = np.concatenate(
        [jacobian for _, jacobian in ClosedLoop(net, [experiment], 5).blocks(weights)], axis=1
    )
    tilted = weights + 1e-30j * np.eye(len(weights))
    complex_step = [
        net.free_run(w, experiment.u, experiment.y[:5])[5:].ravel().imag / 1e-30 for w in tilted
    ]
    np.testing.assert_allclose(exact, complex_step, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("inputs", "outputs", "bound"), SHAPES)
def test_the_loss_is_the_sum_over_the_blocks(
    inputs: int, outputs: int, bound: float | None
) -> None:
    net = net_of(inputs, outputs, bound)
    weights = weights_of(net)
    for problem in (OpenLoop(net, experiments_of(net), 5), ClosedLoop(net, experiments_of(net), 5)):
        total = sum(float(error @ error) for error, _ in problem.blocks(weights))
        assert problem.loss(weights) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("inputs", "outputs", "bound"), SHAPES)
def test_newton_and_step_by_step_give_the_same_free_run(
    inputs: int, outputs: int, bound: float | None
) -> None:
    net = net_of(inputs, outputs, bound)
    stack = ClosedLoop(net, experiments_of(net), 5)
    newton = stack.run_by_newton(weights_of(net))
    assert newton is not None
    np.testing.assert_allclose(newton, stack.run_stepwise(weights_of(net)), atol=1e-10)


def test_a_missing_y_counts_nowhere_it_is_target_or_regressor() -> None:
    net = Narx(1, 1, (1, 2), (0,), 3)
    y = np.arange(12.0)[:, None]
    y[6] = np.nan
    problem = OpenLoop(net, [Experiment(np.zeros((12, 1)), y)], 2)
    assert problem.n_residuals == 10 - 3
    y[6] = 1e30
    same = OpenLoop(net, [Experiment(np.zeros((12, 1)), y, np.ones((12, 1)))], 2)
    assert same.n_residuals == 10


@pytest.mark.parametrize("kind", [OpenLoop, ClosedLoop])
def test_the_weights_of_an_experiment_multiply_squared_errors(kind: type) -> None:
    net = net_of(2, 1, None)
    rng = np.random.default_rng(2)
    u, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    once, twice = (
        kind(net, [Experiment(u, y, np.full(20, w))], 5).loss(weights_of(net)) for w in (1.0, 2.0)
    )
    assert twice == pytest.approx(2 * once)
    assert kind(net, [Experiment(u, y)], 5).loss(weights_of(net)) == once


def test_levenberg_marquardt_recovers_a_narx_net_from_its_own_free_run() -> None:
    net = Narx(1, 1, (1, 2), (0, 1), 2)
    truth = weights_of(net, 4) * 1.5
    u = np.random.default_rng(5).normal(size=(300, 1))
    experiment = Experiment(u, net.free_run(truth, u, np.zeros((2, 1))))
    start = truth + 0.05 * np.random.default_rng(6).normal(size=len(truth))
    opened = lm.minimise(OpenLoop(net, [experiment], 2), start)
    closed = lm.minimise(ClosedLoop(net, [experiment], 2), opened.weights)
    assert closed.curve[-1][1] < 1e-14


def test_a_free_run_that_explodes_is_an_infinite_loss_not_a_warning() -> None:
    net = Narx(1, 1, (1,), (0,), 2)
    weights = np.zeros(net.n_weights)
    weights[-2] = 1e3  # W3 on y: y_t = 1000 y_{t-1}
    experiment = Experiment(np.zeros((200, 1)), np.ones((200, 1)))
    assert ClosedLoop(net, [experiment], 1).loss(weights) == np.inf
    with pytest.raises(ModelError, match="Start from the open-loop weights"):
        lm.minimise(ClosedLoop(net, [experiment], 1), weights)


MEASURE = """
import resource
import numpy as np
from forecast.training import levenberg_marquardt as lm
from forecast.identification.experiment import Experiment
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop, OpenLoop
rng = np.random.default_rng(0)
net = Narx(1, 24, (1,), (0,), 1, linear=False)
experiment = Experiment(rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 24)))
for kind in (OpenLoop, ClosedLoop):
    weights = 0.1 * rng.normal(size=net.n_weights)
    lm.minimise(kind(net, [experiment], 1), weights, options=lm.Options(max_iterations=1))
# ru_maxrss would count the process this one was forked from; VmHWM is its own peak
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""


def test_twenty_thousand_steps_of_24_outputs_stay_below_one_gigabyte() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1_000_000  # kB
