"""Networks as Keras models: equal to `forecast.networks.inference`, causal bit for bit, cuttable
into chunks.
"""

from __future__ import annotations

import gc
import weakref
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from forecast.networks import inference
from forecast.networks.description import (
    Bidirectional,
    Block,
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
from forecast.networks.layers import assemble as layers
from forecast.networks.layers.fused import traced_function
from forecast.networks.weights import weight_specs

BATCH, STEPS, HORIZON = 3, 10, 4
SHAPES = Shapes(
    channels=3,
    future_channels=2,
    horizon=HORIZON,
    outputs=2,
    lookback=STEPS,
    target_channels=(0, 1),
)
BLOCKS: dict[str, tuple[Block, ...]] = {
    "read-out alone": (),
    "dense": (Dense("hidden", 5), Dense("second", 4, "softplus")),
    "taps": (
        Taps("taps", (0, 2, 3)),
        Dense("hidden", 6),
        Taps("more", (0, 2), (0, 4)),
        Dense("last", 4, "relu"),
    ),
    "lstm": (Recurrent("low", "lstm", 6), Dropout("drop", 0.3), Recurrent("high", "lstm", 5)),
    "gru": (Recurrent("low", "gru", 6), Recurrent("high", "gru", 5, {"reset_after": False})),
    "simple": (
        Recurrent("low", "simple_rnn", 6, {"activation": "softplus"}),
        Recurrent("high", "elman", 4),
    ),
    "jordan on lstm": (
        Recurrent("low", "lstm", 4),
        Recurrent("high", "jordan", 4, {"targets": (0, 1)}),
    ),
    "parallel": (
        Parallel(
            "both",
            (
                (Dense("a", 3), Recurrent("r", "lstm", 4)),
                (Taps("t", (0, 1)), Recurrent("g", "gru", 4)),
            ),
        ),
        Dense("hidden", 3),
    ),
    "two kinds": (Parallel("both", ((Dense("a", 4),), (Recurrent("r", "multi_level", 4),))),),
    "bidirectional": (
        Recurrent("low", "gru", 3),
        Bidirectional("both", "lstm", 4),
        Dense("hidden", 3),
    ),
    "segments": (
        Segments("cut", 3, 3, (1,)),
        Dense("hidden", 5, "relu"),
        Recurrent("low", "gru", 4),
    ),
    "segments beyond": (Segments("cut", 4, 3, (0,)), Recurrent("low", "lstm", 4)),
    "segments ahead": (
        Segments("cut", 3, 3, (1,)),
        Recurrent("low", "gru", 5, parts=2),
        Dropout("drop", 0.3),
    ),
    "encoder-decoder": (Dense("first", 3), EncoderDecoder("seq", "lstm", 4)),
    "one to many": (EncoderDecoder("seq", "gru", 4, feedback=False),),
    "encoder-decoder, simple": (EncoderDecoder("seq", "simple_rnn", 4),),
    "encoder-decoder, any cell": (EncoderDecoder("seq", "lstm_variant", 4),),
}
EVERY_STEP = [name for name in BLOCKS if name != "bidirectional" and "segments" not in name]


def network(name: str, **more: object) -> Network:
    return Network(
        BLOCKS[name], SHAPES, **{"future_units": 3, "every_step": name in EVERY_STEP, **more}
    )


def model_of(net: Network, dtype: str = "float32") -> keras.Model:
    """With weights of which none is zero, or the read-out would hide everything."""
    model = layers.assemble(net, seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    weights = layers.get_weights(model)
    layers.set_weights(
        model, {key: (w + rng.normal(0, 0.3, w.shape)).astype(dtype) for key, w in weights.items()}
    )
    return model


@cache
def shared_model(name: str) -> keras.Model:
    """Built once, which costs more than any use of it: no test sets other weights."""
    return model_of(network(name))


def draw_inputs(
    steps: int = STEPS, dtype: str = "float32", batch: int = BATCH
) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(3)
    past, future = rng.normal(size=(batch, steps, 3)), rng.normal(size=(batch, steps + HORIZON, 2))
    return {"past": tf.constant(past.astype(dtype)), "future": tf.constant(future.astype(dtype))}


@pytest.mark.parametrize("name", BLOCKS)
def test_model_equals_the_numpy_forward_pass(name: str) -> None:
    net = network(name)
    model, x = shared_model(name), draw_inputs()
    expected = inference.forward(
        net, layers.get_weights(model), x["past"].numpy(), x["future"].numpy()
    )
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    assert model(x).shape == (BATCH, STEPS if net.every_step else 1, HORIZON, 2, 1)


@pytest.mark.parametrize("name", ["taps", "lstm", "gru", "encoder-decoder"])
def test_model_in_float64_equals_numpy_to_1e_10(name: str) -> None:
    net = network(name, future_units=0)
    model, x = model_of(net, "float64"), draw_inputs(dtype="float64")
    expected = inference.forward(
        net, layers.get_weights(model), x["past"].numpy(), x["future"].numpy()
    )
    np.testing.assert_allclose(model(x), expected, atol=1e-10)


def test_model_without_future_channels_takes_the_past_alone() -> None:
    net = Network(
        BLOCKS["lstm"],
        Shapes(3, 0, HORIZON, 2, STEPS, (0, 1), parameters=3),
    )
    model, past = model_of(net), draw_inputs()["past"]
    expected = inference.forward(net, layers.get_weights(model), past.numpy())
    np.testing.assert_allclose(model({"past": past}), expected, atol=1e-5)
    assert expected.shape == (BATCH, STEPS, HORIZON, 2, 3)


@pytest.mark.parametrize("name", BLOCKS)
def test_weights_have_the_names_and_shapes_of_the_network(name: str) -> None:
    net = network(name)
    model = shared_model(name)
    weights, specs = layers.get_weights(model), weight_specs(net)
    assert {key: w.shape for key, w in weights.items()} == {
        key: w.shape for key, w in specs.items()
    }


def test_new_model_forecasts_zero_because_its_read_out_is_zero() -> None:
    assert not np.any(layers.assemble(network("gru"), seed=1)(draw_inputs()))


@pytest.mark.parametrize("name", EVERY_STEP)
@pytest.mark.parametrize("rubbish", [np.nan, 1e30])
def test_nothing_after_t_changes_a_bit_of_the_forecasts_up_to_t(name: str, rubbish: float) -> None:
    model, x, t = shared_model(name), draw_inputs(), 5
    changed = {key: value.numpy() for key, value in x.items()}
    changed["past"][:, t + 1 :] = rubbish
    changed["future"][:, t + HORIZON + 1 :] = rubbish
    assert model(x).numpy()[:, : t + 1].tobytes() == model(changed).numpy()[:, : t + 1].tobytes()


@pytest.mark.parametrize("name", EVERY_STEP)
def test_known_future_reaches_the_forecast_up_to_h_steps_ahead(name: str) -> None:
    model, x, t = shared_model(name), draw_inputs(), 5
    changed = {key: value.numpy() for key, value in x.items()}
    changed["future"][:, t + HORIZON] += 1
    assert np.any(model(x).numpy()[:, t] != model(changed).numpy()[:, t])


@pytest.mark.parametrize("name", BLOCKS)
def test_a_sequence_has_the_same_forecast_alone_and_in_a_batch(name: str) -> None:
    model, x = shared_model(name), draw_inputs(batch=17)
    alone = model({key: value[4:5] for key, value in x.items()})
    np.testing.assert_allclose(alone, model(x)[4:5], atol=1e-6)


@pytest.mark.parametrize("name", EVERY_STEP)
def test_forecasts_do_not_depend_on_how_much_follows(name: str) -> None:
    model, x = shared_model(name), draw_inputs()
    short = model({"past": x["past"][:, :6], "future": x["future"][:, : 6 + HORIZON]})
    np.testing.assert_allclose(short, model(x)[:, :6], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "steps"), [*((name, 1) for name in BLOCKS), *((name, 3) for name in EVERY_STEP)]
)
def test_last_steps_are_the_last_forecasts_of_the_whole_model(name: str, steps: int) -> None:
    model, x = shared_model(name), draw_inputs()
    last = layers.assemble(network(name), seed=1, last_steps=steps)
    layers.set_weights(last, layers.get_weights(model))
    np.testing.assert_allclose(last(x), model(x)[:, -steps:], atol=1e-6)


def test_dropout_drops_in_training_alone_and_the_same_units_at_all_steps() -> None:
    model, x = model_of(Network((Dropout("drop", 0.5),), SHAPES)), draw_inputs()
    kernel = np.zeros((3, 8), "float32")
    kernel[:, :3] = np.eye(3)
    layers.set_weights(model, {"readout/kernel": kernel, "readout/bias": np.zeros(8, "float32")})
    ratio = model(x, training=True).numpy().reshape(BATCH, STEPS, 8)[:, :, :3] / x["past"].numpy()
    np.testing.assert_allclose(ratio, np.repeat(ratio[:, :1], STEPS, 1), atol=1e-5)
    assert set(np.unique(ratio.round(4))) == {0.0, 2.0}
    np.testing.assert_array_equal(model(x), model(x))


def test_same_seed_builds_and_trains_the_same_bits() -> None:
    def trained() -> list[bytes]:
        keras.backend.clear_session(free_memory=False)
        model, x = layers.assemble(network("lstm"), seed=4), draw_inputs()
        optimizer = keras.optimizers.Adam(0.01)

        @tf.function(autograph=False)
        def step() -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - 1) ** 2)
            optimizer.apply(
                tape.gradient(loss, model.trainable_variables), model.trainable_variables
            )

        for _ in range(3):
            step()
        return [weight.tobytes() for weight in layers.get_weights(model).values()]

    assert trained() == trained()


def test_another_seed_gives_other_weights() -> None:
    first, second = (
        layers.get_weights(layers.assemble(network("lstm"), seed=seed)) for seed in (1, 2)
    )
    assert np.any(first["low/kernel"] != second["low/kernel"])


def test_models_are_freed_when_the_session_is_cleared() -> None:
    model = layers.assemble(network("lstm"), seed=0)
    model(draw_inputs())
    alive = weakref.ref(model), weakref.ref(model.get_layer("low"))
    del model
    keras.backend.clear_session()
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


@pytest.mark.parametrize("name", ["simple", "lstm"])
def test_second_model_of_the_same_cells_traces_no_recurrence_again(name: str) -> None:
    def build_and_run() -> int:
        keras.backend.clear_session(free_memory=False)
        layers.assemble(network(name), seed=0)(draw_inputs())
        return traced_function.cache_info().misses

    assert build_and_run() == build_and_run()
