"""What a forecaster with a head says: paths have the frequencies of their probabilities, and the
best path is best.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy
from scipy.integrate import trapezoid

from forecast import models
from forecast.forecaster import (
    Forecaster,
    log_density,
    predict_quantiles,
    rise_probability,
    sample_paths,
)
from forecast.forecaster.fitting import build_training_series
from forecast.forecaster.loops import Loop
from forecast.forecaster.trainers import fit_head
from forecast.system import files
from forecast.system.errors import DamagedError, InputError
from tests.contract.families import in_scaled_units, random_weights
from tests.contract.heads import forecaster, some_rows
from tests.support import problems

H, PANEL = problems.HORIZON, problems.shops().panel
NORTH = {"north": some_rows(1)["north"]}


@pytest.mark.parametrize("head", ["gaussian", "student_t", "quantiles", "bins"])
def test_direct_paths_have_the_frequencies_of_the_quantiles(head):
    model = forecaster("gru", head)
    paths = sample_paths(model, PANEL, NORTH, 4000, seed=0)["north"][0]
    probabilities = (0.05, 0.3, 0.5, 0.9)
    expected = predict_quantiles(model, PANEL, NORTH, probabilities)["north"][0]
    for place, probability in enumerate(probabilities):
        np.testing.assert_allclose(
            (paths < expected[..., place]).mean(axis=0), probability, atol=0.03
        )


def test_direct_paths_hang_together_as_the_validation_residuals_did():
    model = forecaster("gru", "gaussian")
    together = np.full((2 * H, 2 * H), 0.9) + 0.1 * np.eye(2 * H)
    for dependence in (together, None):
        paths = sample_paths(replace(model, dependence=dependence), PANEL, NORTH, 2000, seed=0)[
            "north"
        ][0]
        correlations = np.corrcoef(in_scaled_units(model, "north", paths).reshape(len(paths), -1).T)
        np.testing.assert_allclose(
            correlations, np.eye(2 * H) if dependence is None else together, atol=0.08
        )


def test_the_first_step_of_a_recursive_path_has_the_frequencies_of_its_bins():
    model = forecaster("narx", "bins")
    windows = next(model.windows(PANEL.by_id["north"], NORTH["north"]))
    raw, base, _ = Loop(
        model.network, model.weights, model.skip, windows, model.channels, horizon=1
    ).propose()
    probability = scipy.special.softmax(raw, axis=-1)[0]
    paths = in_scaled_units(
        model, "north", sample_paths(model, PANEL, NORTH, 4000, seed=0)["north"][0]
    )
    for output in range(2):
        edges = base[0, output] + model.head.constants["edges"][0, output]
        frequencies = np.bincount(np.searchsorted(edges, paths[:, 0, output]), minlength=7) / len(
            paths
        )
        np.testing.assert_allclose(frequencies, probability[output], atol=0.03)


@pytest.mark.parametrize("head", ["gaussian", "updown"])
def test_a_drawn_value_is_what_the_next_step_sees(head):
    """Two paths that part at the first step part further on too, though their later random numbers
    are the same.
    """
    model = forecaster("jordan", head)
    windows = next(model.windows(PANEL.by_id["north"], NORTH["north"]))
    read_values = []
    for first in (0.0, 1.0):
        other = Loop(model.network, model.weights, model.skip, windows, model.channels, horizon=H)
        other.propose()
        other.advance(np.full((1, 2), first))
        read_values.append(other.propose()[0])
    assert (read_values[0] != read_values[1]).all()


def test_the_probability_of_a_rise_is_that_of_a_value_above_the_last():
    for head in ("gaussian", "bins"):
        model = forecaster("lstm", head)
        rise = rise_probability(model, PANEL, NORTH)["north"][0]
        last = PANEL.by_id["north"].values[: NORTH["north"][0] + 1, :2]
        last = np.array([column[np.isfinite(column)][-1] for column in last.T])
        paths = sample_paths(model, PANEL, NORTH, 4000, seed=0)["north"][0]
        np.testing.assert_allclose((paths > last).mean(axis=0), rise, atol=0.03)


def test_the_log_density_in_raw_units_integrates_to_one():
    """Of the price, which is modelled as its logarithm: over a grid of prices that could have been
    observed.
    """
    model, row = forecaster("gru", "gaussian"), NORTH["north"]
    panel = problems.copied(PANEL)
    low, high = predict_quantiles(model, panel, NORTH, (1e-6, 1 - 1e-6))["north"][0, 0, 1]
    density = []
    for price in np.linspace(low, high, 400):
        panel.by_id["north"].values[row[0] + 1, 1] = price
        density.append(np.exp(log_density(model, panel, NORTH)["north"][0, 0, 1]))
    assert trapezoid(density, np.linspace(low, high, 400)) == pytest.approx(1.0, abs=1e-4)


def test_the_latest_origin_has_a_distribution_and_no_density_yet():
    model = forecaster("gru", "gaussian")
    latest = {"north": np.array([len(PANEL.by_id["north"]) - 1])}
    assert np.isfinite(predict_quantiles(model, PANEL, latest, [0.5])["north"]).all()
    assert np.isnan(log_density(model, PANEL, latest)["north"]).all()


def differenced(head: str) -> Forecaster:
    target = {"column": "price", "transform": "logdiff"}
    problem = problems.problem_of(problems.frame(), target=target, past_exogenous=[])
    spec = models.spec({"family": "mlp", "head": head}, where="test")
    network = spec.network(problem.panel.task)
    skip = problem.skip("last", H)
    fitted, _ = fit_head(problem, skip, spec, build_training_series(problem, skip))
    weights = random_weights(network)
    return Forecaster(
        "shops", problem.panel.task, spec, problem.scaling, skip, weights, head=fitted
    )


def test_quantiles_of_a_target_of_changes_are_those_of_paths_that_add_up():
    model = differenced("gaussian")
    panel = problems.panel_of(
        problems.frame(), target={"column": "price", "transform": "logdiff"}, past_exogenous=[]
    )
    low_and_high = predict_quantiles(model, panel, NORTH, (0.1, 0.9))["north"][0, :, 0]
    width = np.log(low_and_high[:, 1] / low_and_high[:, 0])
    assert (np.diff(width) > 0).all()  # uncertainty of a sum grows; that of one change would not
    assert np.isnan(log_density(model, panel, NORTH)["north"]).all()


def test_up_and_down_of_a_target_of_changes_is_refused():
    with pytest.raises(
        InputError, match=r"whether the target rises above its last value, but 'price' has"
    ):
        differenced("updown")


def test_a_series_that_is_not_there_is_named():
    model = forecaster("gru", "bins")
    for ask in (rise_probability, log_density):
        with pytest.raises(
            InputError, match=r"No series 'east' in dataset 'shops'; it has 'north', 'south'"
        ):
            ask(model, PANEL, {"east": np.array([20])})


def test_levels_outside_zero_and_one_are_refused():
    with pytest.raises(InputError, match="wanted each strictly between 0 and 1"):
        predict_quantiles(forecaster("gru", "gaussian"), PANEL, NORTH, [0.5, 1.0])


def test_a_saved_head_without_its_constants_is_refused(tmp_path):
    forecaster("gru", "gaussian").save(tmp_path)
    (tmp_path / "head.npz").unlink()
    with pytest.raises(DamagedError, match=r"head\.npz: cannot be read .*train the model again"):
        Forecaster.load(tmp_path)
    assert files.read_json(tmp_path / "spec.json")["spec"]["head"] == {"kind": "gaussian"}


def test_kept_windows_come_in_batches_of_the_size_that_is_asked_for():
    model = forecaster("gru", "gaussian")
    series = PANEL.with_shared_windows().by_id["north"]
    rows = np.repeat(NORTH["north"], 30)
    for batch_size in (512, 20):
        sizes = [len(windows) for windows in model.windows(series, rows, batch_size=batch_size)]
        assert max(sizes) <= batch_size and sum(sizes) == len(rows)
