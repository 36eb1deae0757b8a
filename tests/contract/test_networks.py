"""One contract over every network family: Keras and NumPy are one function, and no two names
are.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecast import models
from forecast.config.models import load_models
from forecast.models.base import NetworkSpec
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.networks.weights import weight_specs
from forecast.system.errors import InputError
from tests.contract.families import (
    CASES,
    EVERY_NETWORK,
    NETWORKS,
    forecaster,
    network,
    random_weights,
    spec_of,
)
from tests.support import problems

ROOT = Path(__file__).resolve().parents[2]


def windows(family):
    """Windows of the test block as the network of a family gets them."""
    shops, net = problems.shops(), network(family)
    rows = shops.rows("north", "test")[:4]
    return next(shops.windows("north", rows, horizon=net.shapes.horizon))


@EVERY_NETWORK
def test_the_keras_model_equals_the_forecast_without_tensorflow(family):
    from forecast.networks.layers.assemble import assemble, get_weights, set_weights

    net, w = network(family), random_weights(network(family))
    model, given = assemble(net, seed=0), windows(family)
    set_weights(model, w)
    trained = model({"past": given.past, "future": given.future}, training=False).numpy()
    np.testing.assert_allclose(
        trained, inference.forward(net, w, given.past, given.future), atol=1e-5
    )
    assert set(get_weights(model)) == set(weight_specs(net))


@EVERY_NETWORK
def test_an_untrained_network_adds_nothing_to_its_skip(family):
    net, given = network(family), windows(family)
    assert not inference.forecast_last(
        net, inference.initialise(net, 3), given.past, given.future
    ).any()


def test_no_two_names_of_the_catalogue_are_the_same_function():
    """Every family with its default options and every entry of configs/models.yaml.

    The same head and the same shapes of weights are needed for that; then outputs or gradients must
    differ on the same weights.
    """
    specs = {family: spec_of(family) for family in NETWORKS} | configured()
    nets = {name: spec.network(problems.task()) for name, spec in specs.items()}
    needed = {
        name: (specs[name].head, [w.shape for w in weight_specs(net).values()])
        for name, net in nets.items()
    }
    alike = [(a, b) for a, b in itertools.combinations(nets, 2) if needed[a] == needed[b]]
    for a, b in alike:
        values = list(random_weights(nets[a]).values())
        outcomes = [outcome(nets[name], values) for name in (a, b)]
        assert not same(*outcomes), f"{a} and {b} are one function under two names"


def configured():
    """The networks of configs/models.yaml by name, but those that are a family with its default
    options.
    """
    configs = load_models(ROOT / "configs")
    entries = configs.entries_to_fit(
        tuple(configs.models)
    )  # what is fitted: a combination is no network
    specs = {name: models.spec(dict(entry), where=name) for name, entry in entries.items()}
    return {n: s for n, s in specs.items() if isinstance(s, NetworkSpec) and s != spec_of(s.family)}


def test_one_function_under_two_names_would_be_found():
    values = list(random_weights(network("lstm")).values())
    assert same(outcome(network("lstm"), values), outcome(network("lstm"), values))


def outcome(net: Network, values: list[np.ndarray]) -> list[np.ndarray]:
    """The forecasts and the gradients of their squared sum, from weights given in the network's own
    order.
    """
    from forecast.networks.layers import tf
    from forecast.networks.layers.assemble import assemble, named_weights, set_weights

    shops = problems.shops()
    given = next(
        shops.windows("north", shops.rows("north", "test")[:4], horizon=net.shapes.horizon)
    )
    model = assemble(net, seed=0)
    names = list(weight_specs(net))
    set_weights(model, dict(zip(names, values, strict=True)))
    with tf.GradientTape() as tape:
        output = model({"past": given.past, "future": given.future}, training=False)
        loss = tf.reduce_sum(tf.square(output))
    variables = {name: v for name, v in named_weights(model) if v.trainable}
    gradients = dict(
        zip(variables, tape.gradient(loss, [v.value for v in variables.values()]), strict=True)
    )
    return [
        output.numpy(),
        *(gradients[name].numpy() for name in names if gradients.get(name) is not None),
    ]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and np.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True)
    )


FORECASTS = """
import json, sys
from pathlib import Path
import numpy as np
import pytest
from forecast.forecaster import Forecaster
from tests.support import problems

panel, rows = problems.shops().panel, {"north": np.array([140]), "south": np.array([110])}
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    forecasts = Forecaster.load(folder).predict(panel, rows)
    found[folder.name] = {uid: values.tolist() for uid, values in forecasts.items()}
heavy = sorted(set(sys.modules) & {"tensorflow", "keras", "mlflow", "optuna", "matplotlib"})
print(json.dumps({"heavy": heavy, "found": found}))
"""


def test_every_saved_model_forecasts_the_same_where_tensorflow_was_never_imported(tmp_path):
    for family, skip in CASES:
        forecaster(family, skip).save(tmp_path / f"{family}.{skip}")
    run = subprocess.run(
        [sys.executable, "-c", FORECASTS, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["heavy"] == []
    rows = {"north": np.array([140]), "south": np.array([110])}
    for family, skip in CASES:
        y_hats = forecaster(family, skip).predict(problems.shops().panel, rows)
        for uid, values in answer["found"][f"{family}.{skip}"].items():
            np.testing.assert_array_equal(values, y_hats[uid])


def test_an_option_that_leaves_a_network_nothing_to_read_is_a_sentence():
    late = models.spec({"family": "narx", "input_delay": problems.LOOKBACK}, where="x")
    assert late.modules(), "a longer lookback may have it"
    with pytest.raises(InputError, match="input_delay=10, wanted less than lookback=10"):
        late.network(problems.task())
    with pytest.raises(InputError, match=r"'branches'.*at least 1"):
        models.spec({"family": "parallel_rnn", "branches": []}, where="x")
