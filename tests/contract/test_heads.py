"""One contract over every network family and head: what a distribution may see, and what it must
not depend on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.data.panel import Panel, Series
from forecast.forecaster import (
    Forecaster,
    fit,
    log_density,
    predict_quantiles,
    rise_probability,
    sample_paths,
)
from forecast.forecaster.fitting import Budget
from forecast.models.base import NetworkSpec
from forecast.system.errors import InputError
from tests.contract.families import NETWORKS, WAYS, in_scaled_units, over_horizon
from tests.contract.heads import (
    DIAGONAL,
    EVERY,
    NAMES,
    WITH_DISTRIBUTION,
    forecaster,
    some_rows,
    spec_of,
)
from tests.support import problems

H, LEVELS, PATHS = problems.HORIZON, (0.025, 0.1, 0.5, 0.9, 0.975), 4


def predict_all(
    model: Forecaster, panel: Panel, rows: dict[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Everything a model says at `rows`, by kind and series."""
    answers = {"point": model.predict(panel, rows), "rise": rise_probability(model, panel, rows)}
    answers["paths"] = sample_paths(model, panel, rows, PATHS, seed=1)
    if model.head.head.has_distribution:
        answers["quantiles"] = predict_quantiles(model, panel, rows, LEVELS)
    return answers


@EVERY
def test_what_is_said_has_an_axis_each_and_is_ordered(family, head):
    answers = predict_all(forecaster(family, head), problems.shops().panel, some_rows())
    n = len(some_rows()["north"])
    expected = {
        "point": (n, H, 2),
        "rise": (n, H, 2),
        "paths": (n, PATHS, H, 2),
        "quantiles": (n, H, 2, len(LEVELS)),
    }
    for kind, by_series in answers.items():
        for values in by_series.values():
            assert values.shape == expected[kind] and np.isfinite(values).all()
    assert all(((p >= 0) & (p <= 1)).all() for p in answers["rise"].values())
    assert all((np.diff(q, axis=-1) > 0).all() for q in answers.get("quantiles", {}).values())


@EVERY
def test_nothing_after_the_origin_changes_a_bit(family, head):
    panel, model = problems.copied(problems.shops().panel), forecaster(family, head)
    rows = some_rows(2)
    before = predict_all(model, panel, rows)
    for (uid, at), garbage in zip(rows.items(), (np.nan, 1e30), strict=True):
        panel.by_id[uid].values[at[-1] + 1 :] = garbage
        panel.by_id[uid].future[at[-1] + H + 1 :] = garbage
    after = predict_all(model, panel, rows)
    for kind, by_series in before.items():
        for uid, values in by_series.items():
            np.testing.assert_array_equal(after[kind][uid], values)


@EVERY
def test_what_is_said_does_not_depend_on_the_origins_beside_it(family, head):
    panel, model = problems.shops().panel, forecaster(family, head)
    together = predict_all(model, panel, {"north": some_rows()["north"]})
    for place, row in enumerate(some_rows()["north"]):
        for kind, by_series in predict_all(model, panel, {"north": np.array([row])}).items():
            pair = [by_series["north"][0], together[kind]["north"][place]]
            if kind != "rise":
                axis = -2 if kind == "quantiles" else -1
                pair = [
                    in_scaled_units(model, "north", np.moveaxis(values, axis, -1))
                    for values in pair
                ]
            np.testing.assert_allclose(*pair, atol=1e-6)


@EVERY
def test_a_forecast_reads_exactly_the_rows_of_the_lookback(family, head):
    """What a service says from the last `lookback` rows is what the backtest said, to the drawn
    paths.
    """
    model, whole, row = (
        forecaster(family, head),
        problems.shops().panel,
        int(some_rows()["north"][-1]),
    )
    series, start = whole.by_id["north"], row + 1 - problems.LOOKBACK
    parts = (series.values[start : row + 1], series.future[start : row + 1 + H])
    short = replace(whole, series=(Series("north", series.ds[start : row + 1], *parts),))
    served = predict_all(model, short, {"north": np.array([problems.LOOKBACK - 1])})
    for kind, by_series in predict_all(model, whole, {"north": np.array([row])}).items():
        np.testing.assert_allclose(served[kind]["north"], by_series["north"], rtol=1e-5)


@DIAGONAL
def test_a_saved_model_says_the_same_bits(family, head, tmp_path):
    panel, model, rows = (
        problems.shops().panel,
        forecaster(family, head),
        {"south": some_rows(1)["south"]},
    )
    model.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    assert loaded.n_params == model.n_params
    expected = predict_all(model, panel, rows)
    for kind, by_series in predict_all(loaded, panel, rows).items():
        np.testing.assert_array_equal(by_series["south"], expected[kind]["south"])


@EVERY
def test_equal_seeds_draw_equal_paths_and_others_do_not(family, head):
    panel, model, rows = (
        problems.shops().panel,
        forecaster(family, head),
        {"north": some_rows(1)["north"]},
    )
    first, repeated, other = (
        sample_paths(model, panel, rows, 30, seed=seed)["north"] for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, repeated)
    assert (first != other).any()


@pytest.mark.parametrize("head", WITH_DISTRIBUTION)
@pytest.mark.parametrize("family", WAYS)
def test_an_untrained_head_is_its_skip_with_the_spread_of_the_train_residuals(family, head):
    model, panel, rows = forecaster(family, head, stirred=0.0), problems.shops().panel, some_rows()
    gaussian = forecaster(family, "gaussian", stirred=0.0)
    if head != "bins":  # their median is that of the train residuals, not zero
        point = gaussian.predict(panel, rows)["north"]
        np.testing.assert_allclose(model.predict(panel, rows)["north"], point, rtol=1e-6)
    low, high = np.moveaxis(predict_quantiles(model, panel, rows, (0.1, 0.9))["north"], -1, 0)
    reference = predict_quantiles(gaussian, panel, rows, (0.1, 0.9))["north"]
    ratio = (high - low) / (reference[..., 1] - reference[..., 0])
    assert (ratio > 0.5).all() and (ratio < 1.6).all()


def violent(family: str, head: str) -> Forecaster:
    return forecaster(family, head, stirred=300.0)


@pytest.mark.parametrize("head", WITH_DISTRIBUTION)
@pytest.mark.parametrize("family", ["gru", "tdnn", "encoder_decoder"])
def test_quantiles_do_not_cross_however_wild_the_network(family, head):
    quantiles = predict_quantiles(
        violent(family, head), problems.shops().panel, some_rows(20), np.arange(1, 100) / 100
    )
    # the second output's log transform may end at infinity, on both sides of a pair
    for values in quantiles.values():
        with np.errstate(invalid="ignore"):
            assert not (np.diff(values[..., 0, :], axis=-1) < 0).any()


@pytest.mark.parametrize("head", ["gaussian", "bins", "updown"])
def test_a_closed_loop_of_any_length_feeds_back_what_is_forecast(head):
    model, rows = forecaster("jordan", head), {"north": some_rows()["north"]}
    longer = over_horizon(model, problems.shops().panel, rows, horizon=H + 2)["north"]
    np.testing.assert_array_equal(
        longer[:, :H], model.predict(problems.shops().panel, rows)["north"]
    )


@pytest.mark.parametrize(("family", "head"), [*zip((*WAYS, "mlp"), NAMES, strict=True)])
def test_the_keras_model_equals_the_forecast_without_tensorflow(family, head):
    from forecast.networks import inference
    from forecast.networks.layers.assemble import assemble, set_weights

    model, shops = forecaster(family, head), problems.shops()
    net = model.network
    given = next(
        shops.windows("north", shops.rows("north", "test")[:4], horizon=net.shapes.horizon)
    )
    keras_model = assemble(net, seed=0)
    set_weights(keras_model, dict(model.weights))
    trained = keras_model({"past": given.past, "future": given.future}, training=False).numpy()
    assert trained.shape[-1] == spec_of(family, head).head.parameters
    np.testing.assert_allclose(
        trained, inference.forward(net, model.weights, given.past, given.future), atol=1e-5
    )


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("tdnn", "quantiles"),
        ("lstm", "gaussian"),
        ("encoder_decoder", "student_t"),
        ("narx", "bins"),
        ("jordan", "updown"),
    ],
)
def test_equal_seeds_train_to_equal_bits(family, head):
    budget = Budget(steps=2, evaluate_every=2)
    once, second = (
        fit(problems.shops(), spec_of(family, head), skip="linear", seed=0, budget=budget)
        for _ in range(2)
    )
    assert once.curve[0][2] == second.curve[0][2] and once.curve[1:] == second.curve[1:]
    assert np.isfinite([once.curve[0][2], *once.curve[1][1:]]).all() and not once.note
    for name, weight in once.forecaster.weights.items():
        np.testing.assert_array_equal(weight, second.forecaster.weights[name])


@pytest.mark.parametrize("family", NETWORKS)
def test_a_point_head_is_the_default_and_gives_no_distribution(family):
    from tests.contract.families import forecaster as plain

    model = plain(family, "last")
    assert (
        isinstance(model.spec, NetworkSpec)
        and model.spec.head.kind == "point"
        and model.head is None
    )
    for ask in (lambda *a: predict_quantiles(*a, [0.5]), rise_probability, log_density):
        with pytest.raises(InputError, match="gives a point alone and no distribution"):
            ask(model, problems.shops().panel, some_rows(1))


def test_a_class_has_no_quantiles():
    model = forecaster("gru", "updown")
    with pytest.raises(
        InputError, match="'updown' gives a probability and no distribution of values"
    ):
        predict_quantiles(model, problems.shops().panel, some_rows(1), [0.5])
