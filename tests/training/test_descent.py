"""A gradient step: losses are one equation in TensorFlow and NumPy, and the flat update rules are
Keras's own, variable by variable.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.models import spec as spec_of_entry
from forecast.models.base import EXAMPLE_SHAPES
from forecast.networks.heads import HEADS, FittedHead
from forecast.networks.heads.base import numpy_maths
from forecast.networks.layers import keras, tf
from forecast.networks.layers.assemble import assemble
from forecast.networks.losses import POINT_LOSSES
from forecast.system.errors import InputError
from forecast.training import descent
from forecast.training.descent import Settings, UpdateRule, learning_rate

RNG = np.random.default_rng(2)
RESIDUAL = RNG.normal(size=(300, 2, 3))
MADE = {
    name: FittedHead(kind(), kind().fit(RESIDUAL, RNG.normal(size=RESIDUAL.shape)))
    for name, kind in HEADS.items()
    if name != "point"
}
STEPS, PEAK = 40, 0.05


@pytest.mark.parametrize("name", MADE)
def test_the_loss_and_its_slope_are_the_same_in_tensorflow_and_numpy(name):
    head = MADE[name]
    raw = RNG.normal(0, 2, (4, 6, 2, 3, head.head.parameters))
    lead = RNG.normal(size=raw.shape[:-1])
    target, offset = (
        np.nan_to_num(head.target(RNG.normal(0, 2, lead.shape), lead)),
        head.offset(lead),
    )
    x = tf.Variable(raw.astype(np.float32))
    with tf.GradientTape() as tape:
        aside = None if offset is None else tf.constant(offset, tf.float32)
        loss = head.loss(descent.TENSOR_MATHS, x, tf.constant(target, tf.float32), aside)
    np.testing.assert_allclose(
        loss, head.loss(numpy_maths, raw, target, offset), rtol=1e-4, atol=1e-5
    )
    slope = tape.gradient(loss, x).numpy()
    moved = raw.copy()
    moved[..., 0] += 1e-6
    numeric = (
        head.loss(numpy_maths, moved, target, offset) - head.loss(numpy_maths, raw, target, offset)
    ) / 1e-6
    # far out in float32 the slopes are large; their sign and size are the same
    smooth = np.abs(numeric) < 20
    np.testing.assert_allclose(slope[..., 0][smooth], numeric[smooth], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", MADE)
def test_a_loss_stays_finite_wherever_the_network_goes(name):
    head = MADE[name]
    for size in (-1e4, 1e4):
        raw = tf.fill([1, 2, 3, head.head.parameters], size)
        target = tf.zeros([1, 2, 3])
        assert np.isfinite(head.loss(descent.TENSOR_MATHS, raw, target, None)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "gaussian", "loss": "mae"}, "loss has no effect with head: gaussian"),
        ({"head": "gaussian", "trainer": "lm"}, "head has no effect with trainer: lm"),
    ],
)
def test_an_option_that_a_head_would_ignore_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        spec_of_entry({"family": "tdnn", **options}, where="test")


def keras_rule(rule, rate, decay):
    return {
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=decay, global_clipnorm=0.5),
        "adam": lambda: keras.optimizers.Adam(rate, global_clipnorm=0.5),
        "sgd": lambda: keras.optimizers.SGD(rate, weight_decay=decay, global_clipnorm=0.5),
        "momentum": lambda: keras.optimizers.SGD(
            rate, momentum=0.9, weight_decay=decay, global_clipnorm=0.5
        ),
    }[rule]()


def settings(peak, steps, **numbers):
    unused = {"batch_size": 1, "loss": POINT_LOSSES["mse"], "evaluate_every": 1}
    return Settings(steps, peak, **{"weight_decay": 0.0, "clip": 100.0, **unused, **numbers})


def rate_of(settings, step):
    """The learning rate of update number `step`."""
    numbers = (settings.rule_numbers[name] for name in ("peak", "n_rising", "n_falling"))
    return float(learning_rate(settings.schedule, tf.constant(step, tf.int64), *numbers))


def test_a_schedule_without_a_rate_is_refused():
    with pytest.raises(AssertionError, match="staircase"):
        learning_rate("staircase", tf.constant(0, tf.int64), 0.1, 1.0, 9.0)


def constant(peak, **numbers):
    return settings(peak, 1, schedule="constant", **numbers)


def descend(variables, apply):
    """A bent bowl whose gradient is clipped at first and small at the end."""
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            loss = sum(
                tf.reduce_sum(tf.square(tf.cast(k + 1, tf.float32) * v - 1.0))
                for k, v in enumerate(variables)
            )
        apply(tape.gradient(loss, variables))


@pytest.mark.parametrize(
    ("rule", "decay"),
    [("adam", 0.01), ("adamw", 0.01), ("adamw", 0.0), ("sgd", 0.01), ("momentum", 0.01)],
)
def test_the_same_steps_as_keras(rule, decay):
    start = [np.arange(6.0, dtype="float32").reshape(2, 3), np.full((4,), -2.0, "float32")]
    ours, theirs = ([tf.Variable(v) for v in start], [keras.Variable(v) for v in start])
    flat = UpdateRule(ours, constant(PEAK, clip=0.5, weight_decay=decay, rule=rule))
    descend(ours, flat.apply)
    reference = keras_rule(rule, PEAK, decay)
    descend([v.value for v in theirs], lambda gradients: reference.apply(gradients, theirs))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5)


def test_the_rate_rises_over_a_twentieth_and_falls_to_zero():
    schedule = settings(1.0, 100)
    rates = [rate_of(schedule, step) for step in (0, 4, 5, 52, 99, 100)]
    np.testing.assert_allclose(
        rates, [0.2, 1.0, 1.0, 0.5 + 0.5 * np.cos(np.pi * 47 / 95), 0.0003, 0.0], atol=3e-4
    )


def test_a_missing_gradient_counts_as_zero():
    used, unused = tf.Variable([1.0, 2.0]), tf.Variable([3.0])
    UpdateRule([used, unused], constant(0.1, rule="sgd")).apply([tf.constant([1.0, 0.0]), None])
    np.testing.assert_allclose(used.numpy(), [0.9, 2.0], rtol=1e-6)
    assert unused.numpy() == [3.0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.2, 1.0, 48 / 95, 0.0]),
        ("exponential", [0.2, 1.0, 0.01 ** (47 / 95), 0.01]),
    ],
)
def test_the_rate_follows_the_named_schedule(shape, expected):
    rates = [rate_of(settings(1.0, 100, schedule=shape), step) for step in (0, 5, 52, 100)]
    np.testing.assert_allclose(rates, expected, atol=1e-3)


@pytest.mark.parametrize(("gradient", "step"), [([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])])
def test_a_gradient_longer_than_the_bound_keeps_its_direction_and_gets_that_length(gradient, step):
    """g theta / |g| with theta = 1; a shorter one is left as it is."""
    weights = tf.Variable([0.0, 0.0])
    UpdateRule([weights], constant(1.0, clip=1.0, rule="sgd")).apply([tf.constant(gradient)])
    np.testing.assert_allclose(-weights.numpy(), step, rtol=1e-6)


def test_the_l2_penalty_adds_its_gradient_two_mu_w_to_every_rule():
    for rule, expected in (("sgd", [2.0 - 0.1 * (1.0 + 2 * 0.25 * 2.0)]), ("adam", [2.0 - 0.1])):
        weights = tf.Variable([2.0])
        UpdateRule([weights], constant(0.1, l2=0.25, rule=rule)).apply([tf.constant([1.0])])
        np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5)
    # no gradient of the loss: the penalty alone, divided by its own size in Adam
    weights = tf.Variable([2.0])
    UpdateRule([weights], constant(0.1, l2=0.25, rule="adam")).apply([None])
    np.testing.assert_allclose(weights.numpy(), [1.9], rtol=1e-5)


def test_kernels_of_inputs_alone_are_drawn_to_zero_and_stay_there():
    network = spec_of_entry({"family": "rnn", "units": 2}, where="rnn").build(EXAMPLE_SHAPES)
    weights = assemble(network, seed=0).trainable_variables
    before = {weight.path: weight.numpy() for weight in weights}
    rule = UpdateRule(weights, constant(0.1, l1=1.0))
    rule.apply([None for _ in weights])
    for weight in weights:
        old = before[weight.path]
        is_drawn = weight.path == "simple_rnn_0/kernel"
        expected = np.sign(old) * np.maximum(np.abs(old) - 0.1, 0.0) if is_drawn else old
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-7)
    for _ in range(30):
        rule.apply([None for _ in weights])
    assert not weights[0].numpy().any()


def test_decoupled_decay_acts_beside_the_rule_and_not_through_it():
    decayed, plain = tf.Variable([2.0]), tf.Variable([2.0])
    for rule, weights in (("adamw", decayed), ("adam", plain)):
        UpdateRule([weights], constant(0.1, weight_decay=0.5, rule=rule)).apply(
            [tf.constant([1.0])]
        )
    np.testing.assert_allclose(
        [decayed.numpy()[0], plain.numpy()[0]], [2.0 - 0.1 * (1.0 + 1.0), 1.9], rtol=1e-5
    )


def test_a_rule_begun_anew_with_other_numbers_does_what_one_made_with_them_does():
    new_settings = settings(0.3, 40, clip=0.5, weight_decay=0.02, l2=0.1)
    other = settings(2.0, 7, clip=9.0, l2=3.0)
    variable, fresh = tf.Variable([5.0, -1.0]), tf.Variable([1.0, 2.0])
    begun, fresh_rule = UpdateRule([variable], other), UpdateRule([fresh], new_settings)
    traced = tf.function(begun.apply)
    traced([tf.constant([1.0, 1.0])])
    variable.assign([1.0, 2.0])
    begun.reset(new_settings)
    for step in range(5):
        for apply in (traced, fresh_rule.apply):
            apply([tf.constant([1.0 + step, -0.5])])
    np.testing.assert_allclose(variable.numpy(), fresh.numpy(), rtol=1e-6)
    assert traced.experimental_get_tracing_count() == 1
