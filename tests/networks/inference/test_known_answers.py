"""Alignment, order and blocks in numbers written out, and what inference refuses."""

from __future__ import annotations

from dataclasses import dataclass
from math import tanh

import numpy as np
import pytest

from forecast.networks import cells
from forecast.networks.cells.base import Cell, Weight
from forecast.networks.cells.context import Jordan
from forecast.networks.description import (
    Bidirectional,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    Shapes,
    Taps,
)
from forecast.networks.inference import final_states, forecast_last, forward, initial, step
from forecast.networks.inference.batch import future_frames
from forecast.networks.inference.steppers import AnyStepper, first_cell_states, stepper
from forecast.networks.weights import initialise
from forecast.system.errors import InputError
from tests.networks.inference.nets import NETWORKS, SHAPES, inputs_of, recurrent, weights_of

ONE = Shapes(channels=1, future_channels=0, horizon=1, outputs=1, lookback=4)


def run_forward(network, past, future=None, **weights):
    """forward with the weights given by name, `__` for `/`, in float64; one window."""
    arrays = {
        name.replace("__", "/"): np.array(value, dtype=float) for name, value in weights.items()
    }
    future = None if future is None else np.array([future], dtype=float)
    return forward(network, arrays, np.array([past], dtype=float), future)[0]


def test_taps_read_zero_before_the_first_row_and_put_delays_in_their_order():
    network = Network((Taps("t", (0, 2)),), ONE)
    out = run_forward(network, [[1], [2], [3], [4]], readout__kernel=[[10], [1]], readout__bias=[0])
    assert out.ravel().tolist() == [10, 20, 31, 42]


def test_taps_pick_their_channels_all_of_a_delay_together():
    network = Network((Taps("t", (1, 0), channels=(2, 0)),), Shapes(3, 0, 1, 1, 4))
    kernel = [[1000], [100], [10], [1]]  # x[t-1, 2], x[t-1, 0], x[t, 2], x[t, 0]
    out = run_forward(network, [[1, 2, 3], [4, 5, 6]], readout__kernel=kernel, readout__bias=[0])
    assert out.ravel().tolist() == [31, 3164]


def test_the_readout_is_laid_out_by_horizon_then_output_then_parameter():
    network = Network((), Shapes(1, 0, horizon=2, outputs=3, lookback=4, parameters=2))
    out = run_forward(network, [[1]], readout__kernel=[list(range(12))], readout__bias=[0] * 12)
    assert out[0].tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]


def test_the_future_frame_of_a_step_holds_the_rows_after_it_up_to_the_horizon():
    # Horizon 2, one future channel; A picks the first or the second row of the frame.
    network = Network((), Shapes(1, 1, horizon=2, outputs=1, lookback=4), future_units=2)
    future = [[0.1], [0.2], [0.3], [0.4], [0.5]]
    out = run_forward(
        network,
        [[0], [0], [0]],
        future,
        future__kernel=[[1, 0], [0, 1]],
        future__bias=[0, 0],
        readout__kernel=[[0, 0], [1, 0], [0, 1]],
        readout__bias=[0, 0],
    )
    expected = [[tanh(0.2), tanh(0.3)], [tanh(0.3), tanh(0.4)], [tanh(0.4), tanh(0.5)]]
    np.testing.assert_allclose(out[:, :, 0, 0], expected, atol=1e-15)


def test_a_dense_block_applies_its_activation():
    network = Network((Dense("d", 1, "relu"),), ONE)
    weights = {"d__kernel": [[2]], "d__bias": [1], "readout__kernel": [[1]], "readout__bias": [0]}
    out = run_forward(network, [[1], [-1]], **weights)
    np.testing.assert_allclose(out.ravel(), [3, 0])


def test_parallel_branches_see_the_same_input_and_are_merged():
    network = Network(
        (Parallel("p", ((Dense("a", 1, "linear"),), (Dense("b", 1, "linear"),))),), ONE
    )
    weights = {f"p__{k}__{name}__bias": [0] for k, name in enumerate("ab")}
    weights |= {"p__0__a__kernel": [[3]], "p__1__b__kernel": [[2]]}
    out = run_forward(
        network, [[1], [2]], **weights, readout__kernel=[[1], [10]], readout__bias=[0]
    )
    assert out.ravel().tolist() == [23, 46]


def test_a_recurrence_over_segments_reads_the_newest_whole_ones_relative_to_the_last_value():
    # Rows 1 ... 7 in segments of 3: the first row is left out, and 7 is taken off: [-5, -4, -3],
    # [-2, -1, 0].
    blocks = (Segments("s", 3, 2, (0,)), Recurrent("r", "simple_rnn", 1, {"activation": "relu"}))
    network = Network(blocks, ONE, every_step=False)
    weights = {"r__kernel": [[-1], [-10], [-100]], "r__recurrent_kernel": [[1000]], "r__bias": [0]}
    past = [[row] for row in range(1, 8)]
    out = run_forward(network, past, **weights, readout__kernel=[[1]], readout__bias=[0])
    assert out.ravel().tolist() == [345_012]


def test_every_part_of_the_horizon_is_one_step_from_the_last_state_with_a_read_out_for_all():
    # h = relu(x + 10 h) over the segments 1 + 2 and 3 + 4 ends at 37; the parts are 370 + 5 and 370
    # + 6.
    blocks = (Segments("s", 2, 2), Recurrent("r", "simple_rnn", 1, {"activation": "relu"}, parts=2))
    network = Network(blocks, Shapes(1, 0, horizon=4, outputs=1, lookback=4), every_step=False)
    weights = {
        "r__kernel": [[1], [1]],
        "r__recurrent_kernel": [[10]],
        "r__bias": [0],
        "r__embedding": [[2, 3], [0, 6]],
    }
    out = run_forward(
        network, [[1], [2], [3], [4]], **weights, readout__kernel=[[1, 1000]], readout__bias=[0, 1]
    )
    assert out.ravel().tolist() == [375, 375_001, 376, 376_001]


def test_bidirectional_joins_the_forward_end_and_the_backward_end():
    # h = relu(x + h / 2): forward over 1, 2, 4 ends at 5.25, backward over 4, 2, 1 at 3.
    network = Network(
        (Bidirectional("b", "simple_rnn", 1, {"activation": "relu"}),), ONE, every_step=False
    )
    weights = {}
    for direction in ("forward", "backward"):
        weights |= {f"b__{direction}__kernel": [[1]], f"b__{direction}__recurrent_kernel": [[0.5]]}
        weights[f"b__{direction}__bias"] = [0]
    out = run_forward(
        network, [[1], [2], [4]], **weights, readout__kernel=[[100], [1]], readout__bias=[0]
    )
    assert out.ravel().tolist() == [528]


TALK = {
    "talk__encoder__kernel": [[1]],
    "talk__encoder__recurrent_kernel": [[1]],
    "talk__encoder__bias": [0],
}


def test_the_decoder_sees_its_own_forecast_the_encoded_window_and_the_future_row():
    # Encoder relu sum e = 1, 3. Decoder d_k = relu(p_{k-1} + 10 e + 100 f_k + d_{k-1}), d_0 = e;
    # p_k = d_k + 0.5.
    network = Network(
        (EncoderDecoder("talk", "simple_rnn", 1, {"activation": "relu"}),),
        Shapes(1, 1, horizon=2, outputs=1, lookback=4),
    )
    decoder = {
        "talk__decoder__kernel": [[1], [10], [100]],
        "talk__decoder__recurrent_kernel": [[1]],
    }
    out = run_forward(
        network,
        [[1], [2]],
        [[7], [1], [2], [3]],
        **TALK,
        **decoder,
        talk__decoder__bias=[0],
        readout__kernel=[[1]],
        readout__bias=[0.5],
    )
    # t = 0: d_1 = 0 + 10 + 100 + 1 = 111, p_1 = 111.5; d_2 = 111.5 + 10 + 200 + 111 = 432.5, p_2 =
    # 433 t = 1: d_1 = 0 + 30 + 200 + 3 = 233, p_1 = 233.5; d_2 = 233.5 + 30 + 300 + 233 = 796.5,
    # p_2 = 797
    assert out[:, :, 0, 0].tolist() == [[111.5, 433], [233.5, 797]]


def test_one_to_many_runs_from_one_state_without_feeding_back():
    network = Network(
        (EncoderDecoder("talk", "simple_rnn", 1, {"activation": "relu"}, feedback=False),),
        Shapes(1, 0, horizon=3, outputs=1, lookback=4),
    )
    decoder = {
        "talk__decoder__kernel": [[0]],
        "talk__decoder__recurrent_kernel": [[2]],
        "talk__decoder__bias": [0],
    }
    out = run_forward(
        network, [[1], [2]], **TALK, **decoder, readout__kernel=[[1]], readout__bias=[5]
    )
    assert out[:, :, 0, 0].tolist() == [[7, 9, 13], [11, 17, 29]]


def test_the_chosen_parameter_is_the_one_fed_back():
    # p = (d, -d): feeding back the second one gives d_k = relu(-d_{k-1} ... ) = 0 after the first
    # step.
    shapes = Shapes(1, 0, horizon=2, outputs=1, lookback=4, parameters=2)
    decoder = {"talk__decoder__kernel": [[1], [1]], "talk__decoder__recurrent_kernel": [[0]]}
    fed_back = []
    for parameter in (0, 1):
        block = EncoderDecoder("talk", "simple_rnn", 1, {"activation": "relu"}, parameter=parameter)
        weights = {
            "talk__decoder__bias": [0],
            "readout__kernel": [[1, -1]],
            "readout__bias": [0, 0],
        }
        fed_back.append(
            run_forward(Network((block,), shapes), [[3]], **TALK, **decoder, **weights)[
                0, :, 0, 0
            ].tolist()
        )
    assert fed_back == [[3, 6], [3, 0]]


VARIED = [(name, {}) for name in sorted(cells.catalogue())] + [
    ("gru", {"reset_after": False}),
    *(("simple_rnn", {"activation": f}) for f in ("sigmoid", "relu", "softplus")),
]


@pytest.mark.parametrize(("name", "options"), VARIED)
def test_the_fast_steppers_are_the_cells(name, options):
    cell, rng = cells.get(name, 3, options), np.random.default_rng(0)
    w = {key: rng.normal(size=weight.shape) for key, weight in cell.weight_specs(2).items()}
    fast, plain = (
        make(cell, w, first_cell_states(cell, w, 5))
        for make in (lambda c, *a: stepper(c, *a), AnyStepper)
    )
    for x in rng.normal(size=(6, 2, 5)):
        np.testing.assert_allclose(fast(x), plain(x), atol=1e-14)
    for state, value in plain.states().items():
        np.testing.assert_allclose(fast.states()[state], value, atol=1e-14)


@dataclass(frozen=True)
class Independent(Cell):
    """Units without a view of each other (Li et al. 2018), with names of their own for weights."""

    def weight_specs(self, inputs):
        return {
            "keep": Weight((self.units,), "zeros"),
            "read": Weight((inputs, self.units), "glorot_uniform"),
        }

    def project(self, xp, w, x):
        return xp.matmul(x, w["read"])

    def advance(self, xp, w, projected, states):
        h = xp.tanh(projected + w["keep"] * states["h"])
        return h, {"h": h}


def test_a_cell_may_name_its_weights_as_it_likes_also_of_twins():
    cell, rng = Independent(3), np.random.default_rng(0)
    each = [{"keep": rng.normal(size=3), "read": rng.normal(size=(2, 3))} for _ in range(2)]
    both = {name: np.stack([w[name] for w in each]) for name in each[0]}
    alone = [stepper(cell, w, first_cell_states(cell, w, 5)) for w in each]
    together = stepper(cell, both, first_cell_states(cell, both, 10))
    for x in rng.normal(size=(6, 2, 10)):
        expected = [run(part) for run, part in zip(alone, np.split(x, 2, axis=1), strict=True)]
        assert not np.allclose(expected[0], expected[1])
        np.testing.assert_array_equal(together(x), np.concatenate(expected, axis=1))


def test_the_first_state_handed_to_a_cell_is_not_changed_by_stepping():
    cell = cells.get("lstm", 3)
    w = {key: np.ones(weight.shape) for key, weight in cell.weight_specs(2).items()}
    first = {name: np.ones((3, 4)) for name in cell.states()}
    run = stepper(cell, w, first)
    run(np.ones((2, 4)))
    assert all((state == 1).all() for state in first.values())
    assert (run.states()["c"] != 1).all()


def test_a_bidirectional_network_takes_no_single_rows():
    network = NETWORKS["bidirectional"]
    w, (past, future) = weights_of(network), inputs_of()
    state = initial(network, w, 3)
    with pytest.raises(InputError, match="'b' is a Bidirectional, which cannot take one row"):
        step(network, w, state, past[:, 0], future[:, 1:5])


def test_wrong_weights_are_refused_by_name():
    network = Network((Recurrent("a", "gru", 2),), ONE)
    w, past = initialise(network, 0), np.zeros((1, 4, 1))
    with pytest.raises(InputError, match=r"none were given in place of .*'a/bias'"):
        forward(network, {name: value for name, value in w.items() if name != "a/bias"}, past)
    with pytest.raises(InputError, match=r"'b/bias'.* were given in place of none"):
        forward(network, w | {"b/bias": w["a/bias"]}, past)
    with pytest.raises(InputError, match=r"'a/bias', \(6,\).* in place of .*'a/bias', \(2, 6\)"):
        forward(network, w | {"a/bias": w["a/bias"][0]}, past)
    with pytest.raises(InputError, match="'float32', 'float64'; wanted one"):
        forward(network, w | {"a/bias": w["a/bias"].astype("float64")}, past)


DEEP = {
    "lstm": (recurrent("a", "lstm", 3), Dropout("drop", 0.5), recurrent("b", "lstm", 5)),
    "gru, three": (
        recurrent("a", "gru", 4),
        recurrent("b", "gru", 2),
        recurrent("c", "gru", 3),
    ),
    "simple": (
        recurrent("a", "simple_rnn", 3, activation="relu"),
        recurrent("b", "simple_rnn", 4, activation="relu"),
    ),
    "two activations": (
        recurrent("a", "elman", 3),
        recurrent("b", "elman", 4, activation="sigmoid"),
    ),
    "no stepper": (
        recurrent("a", "gru", 3, reset_after=False),
        recurrent("b", "gru", 4, reset_after=False),
    ),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_layers_of_one_window_are_those_of_that_window_among_two(name, steps):
    network = Network(DEEP[name], SHAPES, future_units=3)
    w, (past, future) = weights_of(network), inputs_of(batch=2, steps=steps)
    np.testing.assert_allclose(
        forecast_last(network, w, past[:1], future[:1]),
        forecast_last(network, w, past, future)[:1],
        atol=1e-12,
    )
    alone, both = (
        final_states(network, w, past[:1], future[:1]),
        final_states(network, w, past, future),
    )
    for path, states in both.items():
        for state, values in states.items():
            np.testing.assert_allclose(
                alone[path][state], values[:1], atol=1e-12, err_msg=f"{path} {state}"
            )


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_both_directions_of_one_window_are_those_of_that_window_among_two(cell):
    network = Network((Bidirectional("b", cell, 4),), SHAPES, 3, every_step=False)
    w, (past, future) = weights_of(network), inputs_of(batch=2)
    np.testing.assert_allclose(
        forecast_last(network, w, past[:1], future[:1]),
        forecast_last(network, w, past, future)[:1],
        atol=1e-12,
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_a_context_of_data_takes_one_full_step_for_one_forecast(monkeypatch, batch):
    """The state is bit for bit that of full steps, and the forecast is the last of all."""
    jordan = recurrent("j", "jordan", targets=(2, 0), alpha=0.8)
    network = Network((jordan,), SHAPES, future_units=3)
    w, (past, future) = weights_of(network, "float32"), inputs_of(batch=batch)
    every = forward(network, w, past, future)
    number_of_steps, advance = [], Jordan.advance
    monkeypatch.setattr(
        Jordan, "advance", lambda *args: number_of_steps.append(1) or advance(*args)
    )
    last = forecast_last(network, w, past, future)
    np.testing.assert_allclose(last, every[:, -1], rtol=1e-6)  # read out by another product
    assert len(number_of_steps) == 1
    final = final_states(network, w, past, future)["j"]["mu"]
    rows = initial(network, w, batch)
    for t in range(past.shape[1]):
        _, rows = step(network, w, rows, past[:, t], future[:, t + 1 : t + 1 + SHAPES.horizon])
    np.testing.assert_array_equal(final, rows["j"]["mu"])


@pytest.mark.parametrize("every", [1, 2])
def test_the_frame_of_a_step_holds_the_rows_that_follow_it(every):
    """Of windows side by side, and of every second, whose memory is not in one piece."""
    future = np.arange(4.0 * 9 * 2).reshape(4, 9, 2)[::every]
    frames = future_frames(future, 3, 5)
    assert frames.shape == (5, 3, 2, len(future))
    for number, frame in enumerate(frames):
        newest = 9 - 3 - 5 + number
        np.testing.assert_array_equal(
            frame.transpose(2, 0, 1), future[:, newest + 1 : newest + 1 + 3]
        )
