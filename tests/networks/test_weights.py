"""Names, shapes and first values of weights."""

from __future__ import annotations

import numpy as np

from forecast.networks.description import (
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Shapes,
    Taps,
)
from forecast.networks.weights import initialise, weight_specs

SHAPES = Shapes(channels=3, future_channels=2, horizon=4, outputs=2, lookback=10, parameters=3)


def test_names_and_shapes_follow_the_blocks():
    network = Network(
        (
            Recurrent("low", "gru", 5),
            Parallel(
                "both", ((Taps("near", (0, 2)), Dense("map", 6)), (Recurrent("deep", "lstm", 7),))
            ),
            Dropout("drop", 0.1),
        ),
        SHAPES,
        future_units=8,
    )
    assert {name: weight.shape for name, weight in weight_specs(network).items()} == {
        "future/kernel": (8, 8),
        "future/bias": (8,),
        "low/kernel": (11, 15),
        "low/recurrent_kernel": (5, 15),
        "low/bias": (2, 15),
        "both/0/map/kernel": (10, 6),
        "both/0/map/bias": (6,),
        "both/1/deep/kernel": (5, 28),
        "both/1/deep/recurrent_kernel": (7, 28),
        "both/1/deep/bias": (28,),
        "readout/kernel": (13, 24),
        "readout/bias": (24,),
    }


def test_encoder_and_decoder_have_weights_of_their_own_and_share_a_one_step_readout():
    shapes = weight_specs(Network((EncoderDecoder("talk", "simple_rnn", 5),), SHAPES))
    assert shapes["talk/encoder/kernel"].shape == (3, 5)
    # fed-back outputs, encoded, future row
    assert shapes["talk/decoder/kernel"].shape == (2 + 5 + 2, 5)
    assert shapes["readout/kernel"].shape == (5, 6)
    without = weight_specs(
        Network((EncoderDecoder("talk", "simple_rnn", 5, feedback=False),), SHAPES)
    )
    assert without["talk/decoder/kernel"].shape == (5 + 2, 5)


def test_a_network_without_blocks_is_linear_in_its_input():
    shapes = weight_specs(Network((), SHAPES))
    assert {name: weight.shape for name, weight in shapes.items()} == {
        "readout/kernel": (3, 24),
        "readout/bias": (24,),
    }


def test_without_future_channels_there_is_no_projection():
    network = Network((), Shapes(3, 0, 4, 1, 10), future_units=8)
    assert "future/kernel" not in weight_specs(network)


def test_same_seed_same_weights_and_other_blocks_do_not_matter():
    alone = initialise(Network((Recurrent("a", "lstm", 5),), SHAPES), seed=3)
    two = initialise(Network((Recurrent("a", "lstm", 5), Dense("later", 9)), SHAPES), seed=3)
    other = initialise(Network((Recurrent("a", "lstm", 5),), SHAPES), seed=4)
    for name in ("a/kernel", "a/recurrent_kernel"):
        np.testing.assert_array_equal(alone[name], two[name])
        assert not np.array_equal(alone[name], other[name])


def test_first_values_are_glorot_orthogonal_zero_and_one_for_the_forget_bias():
    w = initialise(Network((Recurrent("a", "lstm", 6),), SHAPES), seed=0, dtype="float64")
    limit = np.sqrt(6 / (3 + 24))
    assert 0.8 * limit < np.abs(w["a/kernel"]).max() <= limit
    np.testing.assert_allclose(
        w["a/recurrent_kernel"] @ w["a/recurrent_kernel"].T, np.eye(6), atol=1e-12
    )
    assert w["a/bias"].reshape(4, 6).tolist() == [[0] * 6, [1] * 6, [0] * 6, [0] * 6]
    assert not w["readout/kernel"].any()
    assert all(array.dtype == np.float64 for array in w.values())


def test_a_tall_recurrent_kernel_has_orthonormal_columns():
    w = initialise(Network((Recurrent("a", "multi_delay", 4),), SHAPES), seed=0, dtype="float64")[
        "a/recurrent_kernel"
    ]
    assert w.shape == (8, 4)
    np.testing.assert_allclose(w.T @ w, np.eye(4), atol=1e-12)


def test_coupled_gates_keep_the_forget_bias_in_their_first_part():
    network = Network((Recurrent("a", "lstm_variant", 2, {"forget": "coupled"}),), SHAPES)
    assert initialise(network, 0)["a/bias"].tolist() == [1, 1, 0, 0, 0, 0]


def test_output_width_of_taps_is_columns_times_delays():
    network = Network((), SHAPES)
    assert Taps("t", (0, 1, 5)).weights_and_width(4, network)[1] == 12
    assert Taps("t", (0, 1, 5), channels=(1,)).weights_and_width(4, network)[1] == 3
