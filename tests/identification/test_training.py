"""Training of nets on experiments: what is learnt, on which rows, from which sequence, with which
weights.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    Watch,
    distdelaynet,
    divideblock,
    divideind,
    divideint,
    dividerand,
    dividetrain,
    elmannet,
    grunet,
    layrecnet,
    narnet,
    narxnet,
    perform,
    stability,
    sunspots_like,
    tank,
    timedelaynet,
    train,
    train_parallel,
    trainbr,
    trainlm,
)
from forecast.identification.data import VALIDATION
from forecast.identification.loops import NetworkLoop
from forecast.identification.nets import Net
from forecast.identification.rows import DividedRows, mean_square_errors, validation_error
from forecast.system.errors import InputError, ModelError
from forecast.training import levenberg_marquardt as lm


def arx(rows: int, seed: int, level: float = 0.0) -> Experiment:
    """y[t] = 0.6 y[t-1] - 0.2 y[t-2] + u[t-2], in two units."""
    rng = np.random.default_rng(seed)
    u, y = rng.normal(size=rows), np.full(rows, level)
    for t in range(2, rows):
        y[t] = 0.6 * y[t - 1] - 0.2 * y[t - 2] + u[t - 2]
    return Experiment(u, 100 + 10 * y)


def test_a_net_without_hidden_units_finds_the_law_exactly() -> None:
    experiment = arx(150, 0)
    model = train(narxnet((2,), (1, 2), ()), experiment, divide=dividetrain())
    kernel = model.weights["readout/kernel"][:, 0]
    ratio = model.scaling.y_scale[0] / model.scaling.u_scale[0] / 10
    np.testing.assert_allclose(kernel * [1, 1, ratio], [0.6, -0.2, 1.0], atol=1e-5)
    free = model.simulate(experiment.u, experiment.y[:2])
    np.testing.assert_allclose(free.y[2:], experiment.y[2:], atol=1e-2)


def test_a_narx_net_learns_a_tank_that_no_linear_model_follows() -> None:
    experiment = tank(400)
    errors = {}
    for hidden in ((), 6):
        model = train(narxnet((1, 2), (1, 2), hidden), experiment, restarts=2)
        errors[hidden] = perform(experiment.y, model.simulate(experiment.u, experiment.y[:2]).y)
    assert errors[6] < 0.02 * errors[()]


def test_a_recurrent_net_learns_a_product_over_time() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, 300)
    y = np.concatenate([[0.0, 0.0], u[1:-1] * u[:-2]])
    model = train(layrecnet((1, 2), 5), Experiment(u, y), iterations=40)
    assert model.training.performance["test"] < 0.1 * y.var()


def test_delays_in_two_layers_reach_what_one_layer_of_taps_cannot() -> None:
    u = np.random.default_rng(1).normal(size=300)
    y = np.concatenate([np.zeros(5), np.tanh(u[:-5])])
    near = train(timedelaynet((0, 1, 2, 3), 4), Experiment(u, y), iterations=30)
    far = train(distdelaynet(((0, 1, 2, 3), (0, 1, 2)), 4), Experiment(u, y), iterations=30)
    assert far.training.performance["test"] < 1e-3 < 0.3 < near.training.performance["test"]


def test_two_outputs_are_learnt_together() -> None:
    first, second = arx(200, 0), arx(200, 1)
    y = np.hstack([first.y, second.y])
    both = Experiment(np.hstack([first.u, second.u]), y)
    model = train(narxnet((2,), (1, 2), ()), both)
    assert model.simulate(both.u, y[:2]).y[2:] == pytest.approx(y[2:], abs=0.05)


def test_errors_over_outputs_are_told_as_a_share_of_their_deviations_whatever_their_units() -> None:
    first, second = tank(150, noise=0.05), tank(150, seed=1, noise=0.05)
    u, y = np.hstack([first.u, second.u]), np.hstack([first.y, second.y])
    net = narxnet((1,), (1,), 3)
    plain, large = (train(net, Experiment(u, y * [1, size]), iterations=5) for size in (1, 2**13))
    assert large.notes == plain.notes and repr(large) == repr(plain)
    run = large.simulate(u, y[:1] * [1, 2**13]).y / [1, 2**13]
    rows = divideblock()(150) == VALIDATION
    error = np.sqrt(np.mean(((run - y) / plain.scaling.y_scale)[rows] ** 2))
    of_what = "of each output's standard deviation in the rows that train."
    sentence = f"{100 * error:.3g} % in free run, {of_what}"
    assert large.notes[-1].endswith(sentence)
    assert f"free-run RMSE {100 * error:.3g} %, of each output's" in repr(large)


def test_several_experiments_are_sequences_of_their_own() -> None:
    """Their levels differ: a delay that reached from one into another would see a jump that no law
    explains.
    """
    parts = [arx(60, 0), arx(60, 1, level=50.0), arx(60, 2, level=-50.0)]
    model = train(narxnet((2,), (1, 2), ()), *parts, divide=dividetrain())
    assert model.training.performance["train"] < 1e-6
    glued = Experiment(np.vstack([p.u for p in parts]), np.vstack([p.y for p in parts]))
    assert (
        train(narxnet((2,), (1, 2), ()), glued, divide=dividetrain()).training.performance["train"]
        > 1.0
    )


def test_every_experiment_begins_with_the_delays_filled_from_its_own_first_rows() -> None:
    """In whatever order they are trained the law is the same, and each free run starts at its own
    level.
    """
    parts = [arx(60, 0), arx(60, 1, level=50.0)]
    net = narxnet((2,), (1, 2), ())
    in_order, reversed_order = (
        train(net, *parts, divide=dividetrain()),
        train(net, *parts[::-1], divide=dividetrain()),
    )
    np.testing.assert_allclose(
        in_order.weights["readout/kernel"], reversed_order.weights["readout/kernel"], atol=1e-6
    )
    for part in parts:
        np.testing.assert_allclose(
            in_order.simulate(part.u, part.y[:2]).y[2:], part.y[2:], atol=0.05
        )


def test_error_weights_decide_which_rows_are_followed() -> None:
    good, bad = arx(100, 0), arx(100, 1)
    wild = np.array(bad.y)
    wild[::2] += 100.0
    for weight, followed in ((0.0, True), (1.0, False)):
        model = train(
            narxnet((2,), (1, 2), ()), good, Experiment(bad.u, wild, np.full(100, weight))
        )
        error = perform(good.y[2:], model.predict(good.u, good.y).y[2:])
        assert (error < 1e-4) == followed


@pytest.mark.parametrize(
    "net", [narxnet((1, 2), (1, 2), 3), layrecnet((1,), 2)], ids=lambda net: net.kind
)
@pytest.mark.parametrize("size", [1e-18, 1e12])
def test_weights_in_other_units_train_the_same_net(net, size) -> None:
    """1 / variance of an output in units of 1e9 ended the training at its first gradient."""
    e, ratios = tank(150, noise=0.01), np.linspace(0.5, 1.0, 150)
    models = [
        train(net, Experiment(e.u, e.y, weight=w), iterations=8) for w in (ratios, size * ratios)
    ]
    curves = [np.array(m.training.curve)[:, :3] for m in models]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert (
        curves[0][-1, 1] < 0.2 * curves[0][0, 1]
        and models[0].training.reason == models[1].training.reason
    )


@pytest.mark.parametrize("for_use", ["simulation", "prediction", 3])
def test_the_validation_curve_is_in_the_units_of_the_training_curve_whatever_the_weights(
    for_use,
) -> None:
    e = tank(150, noise=0.01)
    late = np.where(np.arange(150) < 105, 1.0, 1e-3)
    given, net = (Experiment(e.u, e.y, weight=w) for w in (None, late)), narxnet((1,), (1,), 2)
    first, second = (
        train(net, each, iterations=1, for_use=for_use).training.curve[0] for each in given
    )
    assert second[2] == pytest.approx(first[2], rel=1e-9)


def test_the_error_told_is_that_of_perform_with_the_same_weights() -> None:
    e, weight = tank(200, noise=0.01), np.linspace(0.0, 3.0, 200)
    model = train(
        narxnet((1,), (1,), 3),
        Experiment(e.u, e.y, weight=weight),
        divide=dividetrain(),
        iterations=5,
    )
    error = perform(e.y, model.predict(e.u, e.y).y, weight)
    assert error == pytest.approx(model.training.performance["train"], rel=1e-9)


def test_missing_y_is_passed_over() -> None:
    whole = arx(200, 0)
    y = np.array(whole.y)
    y[[30, 31, 77, 120]] = np.nan
    model = train(narxnet((2,), (1, 2), ()), Experiment(whole.u, y))
    assert model.training.performance["train"] < 1e-6


@pytest.mark.parametrize("every", [2, 7])
def test_a_net_without_feedback_needs_no_y_in_its_delays(every: int) -> None:
    e = tank(1400)
    y = np.full_like(e.y, np.nan)
    y[::every] = e.y[::every]
    model = train(timedelaynet(range(20), 3), Experiment(e.u, y), iterations=20)
    assert model.training.performance["validation"] < 0.1 * np.nanvar(y)


@pytest.mark.parametrize("hidden", [3, (3, 3)])
def test_validation_rows_that_no_run_reaches_are_refused(hidden: int | tuple[int, ...]) -> None:
    e = tank(100)
    y = e.y.copy()
    y[::4] = np.nan
    with pytest.raises(InputError, match="No validation row counts after 5 rows in which y is"):
        train(narxnet((1,), (1, 5), hidden), Experiment(e.u, y))


@pytest.mark.parametrize(
    ("copies", "net"),
    [
        (True, narxnet((0,), (1,), ())),
        (False, narxnet((0,), (1,), ())),
        (False, timedelaynet((1, 2), 2)),  # MATLAB's own way to forecast a series
    ],
)
def test_an_output_measured_again_is_said_of_nets_that_see_it(copies: bool, net: Net) -> None:
    e = tank(200)
    is_copied = copies or not net.feedback
    other = 3 + 2 * e.y if is_copied else np.random.default_rng(0).normal(size=e.y.shape)
    model = train(net, Experiment(np.hstack([e.u, other]), e.y), iterations=5)
    notes = [
        note for note in model.notes if note.startswith("Output 0 is a straight line of input")
    ]
    assert len(notes) == copies


@pytest.mark.parametrize("net", [narnet((1,), 6), narnet((1,), (4, 3))], ids=["one", "two layers"])
def test_a_chaotic_series_is_learnt_one_step_ahead_and_its_note_says_so(net: Net) -> None:
    y = np.full(300, 0.3)
    for t in range(1, 300):
        y[t] = 3.97 * y[t - 1] * (1 - y[t - 1])  # the logistic map
    series = Experiment(None, y)
    default, by_step, by_run = (
        train(net, series, iterations=40, for_use=use) for use in (None, "prediction", "simulation")
    )
    assert all((default.weights[name] == by_step.weights[name]).all() for name in default.weights)
    assert default.training.for_use == "prediction"
    assert default.training.performance["test"] < 1e-4 * y.var()
    assert default.notes[0].startswith("No free run follows y on the validation rows")
    (note,) = [note for note in default.notes if "It can be simulated for" in note]
    assert int(note.split("simulated for ")[1].split()[0]) > 3
    # what was asked for is done
    assert by_run.training.for_use == "simulation"
    assert by_run.training.performance["test"] > 0.1 * y.var()


@pytest.mark.parametrize("net", [narxnet((1,), (1,), 3), narnet((1, 2), ())])
def test_a_net_whose_free_run_follows_y_is_chosen_by_it(net: Net) -> None:
    e = tank(200) if net.input_delays else Experiment(None, np.sin(0.3 * np.arange(200)))
    default, by_run = (train(net, e, iterations=20, for_use=use) for use in (None, "simulation"))
    assert default.training.for_use == "simulation" and default.notes == by_run.notes
    assert all((default.weights[name] == by_run.weights[name]).all() for name in default.weights)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_that_nothing_has_trained_are_not_chosen_by_their_free_run(seed: int) -> None:
    """At one level they come nearer to the first swings of y than a net that has half learnt it."""
    u = np.repeat(np.random.default_rng(seed).uniform(-1, 1, 16), 25)
    y = lfilter([0.0, 1.0], [1.0, -1.95, 0.97], np.abs(u) * u)
    net = narxnet((1, 2), (1, 2), 6, linear=False)
    model = train(net, Experiment(u, y), seed=seed, iterations=30)
    assert model.training.for_use == "prediction"
    assert model.training.performance["test"] < 0.001 * y.var()


def test_a_net_that_nobody_trained_is_not_trained_further() -> None:
    with pytest.raises(InputError, match=r"Got Net where a trained model was wanted"):
        train_parallel(narxnet((1,), (1,), 3), tank(100))


def test_values_of_the_test_rows_change_no_weight() -> None:
    experiment = tank(200)
    changed = Experiment(experiment.u.copy(), experiment.y.copy())
    changed.u[170:], changed.y[170:] = 9.0, 9.0
    first, other = (train(narxnet((1,), (1,), 3), e, iterations=15) for e in (experiment, changed))
    assert all((first.weights[name] == other.weights[name]).all() for name in first.weights)
    assert first.training.performance["test"] != other.training.performance["test"]


def test_equal_seeds_give_equal_weights_and_restarts_keep_the_best() -> None:
    experiment, net = tank(150), narxnet((1,), (1,), 3)
    first, same = (train(net, experiment, seed=4, iterations=10) for _ in range(2))
    np.testing.assert_array_equal(first.weights["readout/kernel"], same.weights["readout/kernel"])
    best = train(net, experiment, seed=4, iterations=10, restarts=4)
    assert best.training.free_run["validation"] <= first.training.free_run["validation"]


def test_a_recurrent_net_is_judged_with_the_state_that_earlier_rows_left() -> None:
    rng = np.random.default_rng(0)
    u = np.repeat(rng.uniform(-1, 1, 40), 10)
    y = lfilter([0.0, 0.05], [1.0, -0.95], u)
    model = train(elmannet((1,), 3), Experiment(u, y + 0.001 * rng.normal(size=400)))
    errors = [row[2] for row in model.training.curve]
    assert min(errors) * model.scaling.y_scale[0] ** 2 == (
        pytest.approx(model.training.performance["validation"], rel=1e-6)
    )


def test_bayesian_training_uses_the_validation_rows_too() -> None:
    model = train(narxnet((1,), (1,), 4), tank(200, noise=0.01), trainer="bayesian", iterations=30)
    assert set(model.training.performance) == {"train", "test"}
    assert model.training.performance["test"] < 4e-4  # the noise alone: 2e-4


@pytest.mark.parametrize(
    "net", [timedelaynet((0, 1), 3), elmannet((1,), 2), layrecnet((1, 2), 2), grunet(2)]
)
def test_every_kind_of_net_announces_its_training_and_is_trained_as_without(net) -> None:
    lines: list[str] = []
    model = train(net, tank(80), iterations=2, announce=lines.append)
    assert "MB and at most" in lines[0]
    for name, weight in train(net, tank(80), iterations=2).weights.items():
        np.testing.assert_array_equal(model.weights[name], weight)


def test_memory_and_time_are_announced_before_training() -> None:
    lines: list[str] = []
    train(narxnet((1,), (1,), 3), tank(100), iterations=2, announce=lines.append)
    assert len(lines) == 1 and "15 weights" in lines[0] and "MB" in lines[0]


@pytest.mark.parametrize("linear", [False, True])
def test_the_free_run_of_a_model_is_that_of_identify_and_of_its_network(linear) -> None:
    net = narxnet((0, 2), (1, 3), 4, linear=linear)
    experiment = tank(80)
    model = train(net, experiment, iterations=3)
    narx = net.narx_form(1, 1)
    flat = narx.flatten(model.weights)
    u, y = model.scaling.scale_u(experiment.u), model.scaling.scale_y(experiment.y)
    free = model.scaling.unscale_y(narx.free_run(flat, u, y[:3]))
    np.testing.assert_array_equal(model.simulate(experiment.u, experiment.y[:3]).y[3:], free[3:])
    network = NetworkLoop(model.network, net.shift)
    _, memory = network.loop(model.weights, network.begin(model.weights), u[:3], y[:3])
    run, _ = network.loop(model.weights, memory, u[3:])
    np.testing.assert_allclose(model.scaling.unscale_y(run), free[3:], rtol=1e-10)
    back = narx.unflatten(flat)
    assert all((back[name] == value).all() for name, value in model.weights.items())


def test_closed_loop_training_lowers_the_free_run_error() -> None:
    experiment = tank(300, noise=0.03)
    opened = train(narxnet((1, 2), (1, 2), 4), experiment, divide=divideblock(0.8, 0.2, 0.0))
    closed = train_parallel(opened, experiment, divide=divideblock(0.8, 0.2, 0.0), iterations=30)
    truth = tank(300).y
    before, after = (
        perform(truth, m.simulate(experiment.u, experiment.y[:2]).y) for m in (opened, closed)
    )
    assert after < 0.8 * before
    assert closed.training.loop == "parallel"


@pytest.mark.parametrize(
    "net", [narnet((1, 2), 4), narxnet((1, 2), (1, 2), 4)], ids=["nar", "narx"]
)
def test_closed_loop_training_takes_several_experiments_with_gaps_and_weights(net) -> None:
    parts = [
        sunspots_like(120, seed=s) if net.kind == "narnet" else tank(120, seed=s) for s in (0, 1)
    ]
    y = np.array(parts[1].y)
    y[40:43] = np.nan
    gapped = replace_y(parts[1], y)
    model = train_parallel(train(net, *parts, iterations=10), parts[0], gapped, iterations=5)
    assert np.isfinite(list(model.training.performance.values())).all()


def replace_y(experiment: Experiment, y: np.ndarray) -> Experiment:
    u = experiment.u if experiment.u.shape[1] else None
    return Experiment(u, y, np.linspace(0.5, 1.0, len(y)))


def test_a_free_run_is_trained_on_a_y_that_is_measured_every_third_row() -> None:
    """No row behind the first ones has y over both delays; the free run needs none."""
    e, net = tank(400, noise=0.002), narxnet((1, 2), (1, 2), 4)
    seldom = (np.arange(400) < 6) | (np.arange(400) % 3 == 0)
    gapped = Experiment(e.u, np.where(seldom[:, None], e.y, np.nan))
    begun = train(net, tank(200, seed=5, noise=0.02), iterations=20)
    closed = train_parallel(begun, gapped, divide=dividetrain(), iterations=30)
    y_hat = closed.simulate(e.u, e.y[:2]).y
    assert perform(e.y, y_hat, measure="rmse") < 0.03 * e.y.std()
    assert closed.training.free_run["train"] == pytest.approx(
        perform(gapped.y[2:], y_hat[2:]), rel=1e-6
    )


def test_a_record_without_a_row_behind_filled_delays_is_refused_one_step_ahead() -> None:
    e = tank(200)
    gapped = Experiment(e.u, np.where(np.arange(200)[:, None] % 3 == 0, e.y, np.nan))
    with pytest.raises(
        InputError, match=r"found none among those that train\. Take shorter delays"
    ):
        train(narxnet((1, 2), (1, 2), 2), gapped)


def test_closed_loop_training_is_refused_for_nets_it_has_no_derivatives_of() -> None:
    experiment = tank(60)
    deep, filter_net = (
        train(net, experiment, iterations=1)
        for net in (narxnet((1,), (1,), (3, 3)), timedelaynet((0, 1), 3))
    )
    with pytest.raises(
        InputError, match="Closed-loop training is for narx and nar nets with one hidden layer"
    ):
        train_parallel(deep, experiment)
    with pytest.raises(InputError, match="A timedelaynet feeds no forecast back: there is no loop"):
        train_parallel(filter_net, experiment)


def test_closed_loop_training_that_improves_nothing_says_so() -> None:
    experiment = tank(120, noise=0.03)
    opened = train(narxnet((1,), (1,), 3), experiment, iterations=3)
    closed = train_parallel(opened, experiment)
    note = "No free-run training improved it: the weights are those given."
    assert note in closed.notes
    assert all(
        np.array_equal(closed.weights[name], opened.weights[name]) for name in opened.weights
    )
    improved = train_parallel(opened, experiment, divide=dividetrain(), iterations=3)
    assert note not in improved.notes


def test_divisions_by_hand() -> None:
    assert divideblock(0.5, 0.25, 0.25)(8).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert divideint(0.5, 0.25, 0.25)(8).tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    assert sorted(dividerand(0.5, 0.25, 0.25, seed=1)(8).tolist()) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert divideind([0, 1], [3], [4])(6).tolist() == [0, 0, -1, 1, 2, -1]
    assert dividetrain()(3).tolist() == [0, 0, 0]


BAD = {
    "nothing": (lambda: train(narxnet()), "at least one experiment"),
    "arrays": (
        lambda: train(narxnet(), tank(50).u, tank(50).y),
        r"Got ndarray .* Give `Experiment\(u, y\)`",
    ),
    "a trained model": (
        lambda: train(train(narxnet((1,), (1,), 1), tank(50), iterations=1), tank(50)),
        "goes on from its weights",
    ),
    "a trainer by its name in MATLAB": (
        lambda: train(narxnet(), tank(50), trainer="trainlm"),
        r"wanted 'lm' or trainlm\(\.\.\.\), 'bayesian' or trainbr",
    ),
    "a loop that is none": (
        lambda: train(narxnet(), tank(50), for_use="sim"),
        "`for_use` is 'sim'; wanted 'simulation'",
    ),
    "a use that no rows choose weights by": (
        lambda: train(narxnet(), tank(50), trainer="bayesian", for_use="simulation"),
        "no validation rows to choose weights by",
    ),
    "no step ahead": (lambda: train(narxnet(), tank(50), for_use=0), "`for_use` is 0"),
    "more steps than rows": (
        lambda: train(narxnet(), tank(50), for_use=30),
        r"30; a stretch .* has \d",
    ),
    "another trainer": (
        lambda: train(narxnet(), tank(50), trainer="scg"),
        "`trainer` is 'scg'; wanted 'lm'",
    ),
    "delays longer than the series": (
        lambda: train(narxnet(range(1, 13)), tank(50), tank(12)),
        "delays up to 12; experiment 1 has 12 rows, at least 13 are needed",
    ),
    "other columns": (
        lambda: train(narxnet(), tank(50), Experiment(np.zeros((50, 2)), np.zeros(50))),
        r"have \(inputs, outputs\) \[\(1, 1\), \(2, 1\)\]",
    ),
    "narx without inputs": (
        lambda: train(narxnet(), sunspots_like(50)),
        "narxnet wants inputs .* or use narnet",
    ),
    "nar with inputs": (
        lambda: train(narnet(), tank(50)),
        "narnet wants no inputs .* or use narxnet",
    ),
    "no row to train on": (
        lambda: train(narxnet(), tank(50), divide=divideind([0, 1], range(2, 50))),
        "No observed row is left to train on",
    ),
    "a division that is none": (
        lambda: train(narxnet(), tank(50), divide=divideblock),
        "`divide` gave no label for each row",
    ),
    "rows of two kinds": (
        lambda: divideind(range(30), range(20, 40))(50),
        "some of the validation rows are named twice",
    ),
    "a row named twice": (
        lambda: divideind([0, 0, 1], [2])(4),
        "some of the train rows are named twice",
    ),
    "rows that are not there": (lambda: divideind([0, 9])(5), "train rows reach from 0 to 9"),
    "shares": (lambda: divideblock(0.0, 1.0), "train above it"),
    "an output that says nothing": (
        lambda: train(narxnet(), Experiment(np.arange(50.0), np.ones(50))),
        "Output 0 is constant in the rows that train",
    ),
    "half an epoch": (
        lambda: trainlm(epochs=2.5),
        r"`epochs` is 2\.5; wanted a whole number from 1 up",
    ),
    "no number of epochs": (
        lambda: trainlm(epochs=None),
        "`epochs` is None; wanted a whole number",
    ),
    "no failure in a row": (lambda: trainlm(max_fail=0), "`max_fail` is 0; wanted a whole number"),
    "half an iteration": (
        lambda: train(narxnet(), tank(50), iterations=2.5),
        r"`iterations` is 2\.5; wanted a whole number",
    ),
    "no iteration": (lambda: train(narxnet(), tank(50), iterations=0), "`iterations` is 0; wanted"),
    "a damping that never grows": (lambda: trainlm(mu=0.0), "mu=0.0, .* wanted mu above 0"),
    "a damping that does not rise": (
        lambda: trainbr(mu_inc=1.0),
        "mu_inc=1.0, .* wanted .* mu_inc above 1",
    ),
    "other columns for the closed loop": (
        lambda: train_parallel(
            train(narxnet(), tank(50), iterations=1), Experiment(np.zeros((50, 2)), tank(50).y)
        ),
        "u has 2 columns; this net was trained on 1",
    ),
    "too large for Levenberg-Marquardt": (
        lambda: train(narxnet(range(1, 20), range(1, 20), 100), tank(100)),
        r"at most 2000 weights; this one has 4\d\d\d",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_training_that_cannot_be_is_refused(call, message) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_no_restart_at_all_is_said() -> None:
    with pytest.raises(InputError, match="`restarts` is 0; wanted a whole number from 1 up"):
        train(narxnet(), tank(50), restarts=0, announce=lambda text: None)


def test_a_record_given_before_the_net_is_named() -> None:
    with pytest.raises(InputError, match="`net` is of type Experiment; wanted a net such as"):
        train(tank(50), narxnet())


def test_a_training_set_is_not_changed() -> None:
    experiment = tank(60)
    before = experiment.u.copy(), experiment.y.copy()
    train(narxnet((1,), (1,), 2), experiment, iterations=2)
    np.testing.assert_array_equal(experiment.u, before[0])
    np.testing.assert_array_equal(experiment.y, before[1])


def test_an_excellent_one_step_error_does_not_hide_a_useless_free_run() -> None:
    """A random walk: y is almost y one step before, and no input tells where it goes."""
    rng = np.random.default_rng(0)
    walk = Experiment(rng.normal(size=400), np.cumsum(rng.normal(size=400)) * 10)
    model = train(narxnet((1, 2), (1, 2), 3), walk, iterations=20)
    one_step, free = (
        record["validation"] for record in (model.training.performance, model.training.free_run)
    )
    assert one_step < 0.1 * walk.y.var() < free
    assert "no simulation" in model.notes[-1]


def test_weights_are_kept_that_are_best_in_the_loop_the_net_is_for() -> None:
    experiment, net = tank(300, noise=0.03), narxnet((1, 2), (1, 2), 8)
    by_use = {
        use: train(net, experiment, for_use=use).training for use in ("simulation", "prediction", 5)
    }
    assert (
        by_use["simulation"].free_run["validation"] <= by_use["prediction"].free_run["validation"]
    )
    assert (
        by_use["prediction"].performance["validation"]
        <= by_use["simulation"].performance["validation"]
    )
    assert [record.for_use for record in by_use.values()] == ["simulation", "prediction", 5]
    assert (
        "Weights chosen for 5 steps ahead." in by_use[5].notes
        and " 5 steps ahead, " in by_use[5].notes[-1]
    )


def test_a_record_that_begins_with_a_gap_has_its_free_run_reported_from_behind_it() -> None:
    e, net = tank(200, noise=0.01), narxnet((1, 2), (1, 2), 3)
    gapped = Experiment(e.u, np.where(np.arange(200)[:, None] == 1, np.nan, e.y))
    model = train(net, gapped, iterations=10)
    free = model.training.free_run
    run = model.simulate(e.u[2:], e.y[2:4]).y[2:]
    labels = divideblock()(200)[4:]
    assert free["validation"] == pytest.approx(
        perform(e.y[4:][labels == VALIDATION], run[labels == VALIDATION])
    )


def test_a_deep_net_whose_free_run_overflows_is_judged_and_not_lost() -> None:
    e = tank(400)
    deep = train(narxnet((1, 2), (1, 2), (3, 2)), e, iterations=2)
    wild = replace(
        deep, weights={k: 30 * w if "readout" in k else w for k, w in deep.weights.items()}
    )
    rows = DividedRows.of(deep.net, [e], divideblock())
    assert validation_error(rows, deep.scaling, "simulation")(wild.weights) > 1e100
    assert mean_square_errors(wild, rows, "simulation")["train"] == np.inf
    assert stability(wild, e).verdict == "unstable"
    assert np.isfinite(Model.average(deep, deep, wild).simulate(e.u, e.y[:2]).y[2:]).all()


def test_the_error_several_steps_ahead_is_that_of_the_model() -> None:
    experiment, net = tank(120, noise=0.02), narxnet((1, 2), (1, 3), 3)
    model = train(net, experiment, iterations=5)
    path = model.ahead(experiment.u, experiment.y, steps=4)[:, -1]
    expected = np.mean(((path - experiment.y[4:])[net.start :] / model.scaling.y_scale) ** 2)
    rows = DividedRows(net, [experiment], [np.full(120, VALIDATION)])
    error = validation_error(rows, model.scaling, 4)
    assert error(model.weights) == pytest.approx(expected, rel=1e-9)


def test_a_net_whose_free_run_diverges_is_not_trained_on_it() -> None:
    experiment = tank(300)
    model = train(narxnet((1, 2), (1, 2), 4), experiment, iterations=3)
    wild = {name: value.copy() for name, value in model.weights.items()}
    # the linear path of y[t-1]: its loop grows by a factor each step
    wild["readout/kernel"][4] += 0.6
    broken = replace(model, weights=wild)
    with pytest.raises(ModelError, match=r"after \d+ of 298 steps on its own"):
        broken.simulate(experiment.u, experiment.y[:2])
    with pytest.raises(ModelError, match="Its free run diverges, so there is no error to lower"):
        train_parallel(broken, experiment, iterations=30)


def test_a_free_run_beyond_ten_ranges_of_the_record_is_a_failure_with_its_step() -> None:
    ramp = np.arange(60.0)
    moved = 1 + 0.01 * np.random.default_rng(0).normal(size=60)
    model = train(narxnet((1,), (1,), ()), Experiment(moved, ramp))
    with pytest.raises(
        ModelError,
        match=r"diverges: after \d+ of 999 .* 10 ranges of .* record away from its middle",
    ):
        model.simulate(np.ones(1000), [0.0])


def test_the_options_of_trainlm_and_trainbr_are_taken() -> None:
    experiment, net = tank(150, noise=0.02), narxnet((1,), (1,), 3)
    assert train(net, experiment, trainer=trainlm(epochs=4)).training.curve[-1][0] == 4
    assert train(net, experiment, trainer=trainlm(goal=0.5)).training.reason == "goal reached"
    assert train(net, experiment, trainer=trainlm(time=0.0)).training.reason == "time used"
    assert (
        train(net, experiment, trainer=trainlm(min_grad=1e3)).training.reason
        == "gradient below its minimum"
    )
    assert (
        train(net, experiment, trainer=trainlm(mu=2.0, mu_max=1.0)).training.reason
        == "mu above its maximum"
    )
    assert (
        train(net, experiment, trainer=trainlm(max_fail=1)).training.reason
        == "validation error rose"
    )
    slow = train(
        net, experiment, trainer=trainlm(epochs=3, mu=0.5, mu_dec=0.5, mu_inc=2.0)
    ).training.curve
    assert [mu for *_, mu in slow] == [0.5, 0.25, 0.125, 0.0625]
    smooth = train(net, experiment, trainer=trainbr(epochs=10))
    assert "validation" not in smooth.training.performance
    size = sum(weight.size for weight in smooth.weights.values())
    assert (
        0
        < smooth.training.effective
        < train(net, experiment, iterations=1).training.effective
        == size
    )
    on = train_parallel(smooth, experiment, trainer=trainbr(epochs=5))
    assert 0 < on.training.effective < size and on.training.loop == "parallel"


def test_ctrl_c_keeps_the_best_net_so_far_and_progress_is_shown() -> None:
    iterations: list[int] = []

    def show(iteration: int, train_error: float, validation: float, mu: float) -> None:
        iterations.append(iteration)
        if iteration == 5:
            raise KeyboardInterrupt

    watch = Watch(show)
    model = train(narxnet((1,), (1,), 3), tank(150, noise=0.02), watch=watch, restarts=3)
    assert (
        iterations == [1, 2, 3, 4, 5]
        and watch.interrupted
        and model.training.reason == "interrupted"
    )
    with pytest.raises(KeyboardInterrupt):
        lm.minimise(Interrupted(), np.zeros(1))
    watch.show = None
    assert (
        train(narxnet((1,), (1,), 3), tank(150), watch=watch, iterations=2).training.reason
        == "iterations used"
    )


@pytest.mark.parametrize("way", [train, train_parallel], ids=lambda way: way.__name__)
def test_ctrl_c_while_the_errors_are_told_loses_no_net(
    way, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()

    def pressed(*given):
        if not watch.interrupted:  # the second one is raised
            signal.raise_signal(signal.SIGINT)
        return mean_square_errors(*given)

    e, net = tank(150, noise=0.02), narxnet((1,), (1,), 3)
    model = train(net, e, iterations=2)
    monkeypatch.setattr("forecast.identification.rows.mean_square_errors", pressed)
    result = way(net if way is train else model, e, iterations=2, watch=watch)
    assert watch.interrupted and result.training.free_run["validation"] > 0


class Interrupted:
    """A problem at which Ctrl-C is pressed; without a watch it is nobody's to catch."""

    n_weights, n_residuals = 1, 1

    def loss(self, weights: np.ndarray) -> float:
        return 1.0

    def validation(self, weights: np.ndarray) -> float | None:
        return None

    def blocks(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        raise KeyboardInterrupt


def test_fewer_rows_than_weights_and_a_constant_input_are_said() -> None:
    part = tank(40)
    model = train(
        narxnet((1, 2), (1, 2), 10),
        Experiment(np.hstack([part.u, 0 * part.u]), part.y),
        iterations=2,
    )
    assert "Input 1 is constant in the rows that train: nothing is learnt of it." in model.notes
    assert "28 values of y train 87 weights" in " ".join(model.notes)


@pytest.mark.parametrize(
    "option", [{"restarts": 2.5}, {"restarts": None}, {"seed": -1}, {"seed": None}]
)
def test_a_number_of_starts_or_a_seed_that_is_none_is_refused_by_its_name(
    option: dict[str, Any],
) -> None:
    ((name, given),) = option.items()
    with pytest.raises(InputError, match=f"`{name}` is {given!r}; wanted a whole number"):
        train(narxnet((1,), (1,), 2), tank(100), iterations=1, **option)


def test_the_time_of_a_training_is_that_of_all_its_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []
    begun = lm._Run.__init__

    def note_call(self: Any, problem: Any, weights: Any, options: lm.Options) -> None:
        shares.append(options.seconds)
        begun(self, problem, weights, options)

    monkeypatch.setattr(lm._Run, "__init__", note_call)
    train(narxnet((1,), (1,), 2), tank(100), restarts=4, trainer=trainlm(epochs=1, time=4000.0))
    assert len(shares) == 4
    assert 990 < shares[0] <= 1000
    # what an early start leaves goes to the later ones
    assert shares[0] < shares[1] < shares[2] < shares[3] <= 4000
