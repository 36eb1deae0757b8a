"""A trained network as a Python file: it forecasts what the model does, to rounding."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast import models
from forecast.api.export import load_ensemble
from forecast.api.network_file import write_network
from forecast.data.panel import from_frame
from forecast.data.windows import Windows
from forecast.forecaster.ensemble import Ensemble
from forecast.models import skip
from forecast.models.skip import calendar_products
from forecast.networks.weights import weight_specs
from forecast.system.errors import InputError
from tests.contract import heads
from tests.support.frame_project import trained
from tests.support.small_project import command

NETWORKS = ("gru", "lstm", "encoder_decoder", "tdnn")
CALENDAR = dict.fromkeys(("lstm", "encoder_decoder"), ("day_of_week", "day_of_year"))
BUDGET = {"n_trials": 1, "trial_steps": 2, "final_steps": 2, "evaluate_every": 1}


def waves() -> pd.DataFrame:
    """With two empty cells, so that a window has masks."""
    t = np.arange(150)
    y = 5 + np.sin(t) + np.random.default_rng(0).standard_normal(150) / 10
    frame = pd.DataFrame(
        {"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=150), "y": y, "x": np.cos(t)}
    )
    frame.loc[[60, 120], "y"] = np.nan
    return frame


@cache
def ridge_of(calendar_features: tuple[str, ...]) -> forecast.Model:
    return forecast.fit(
        waves(),
        "ridge",
        freq="1D",
        horizon=3,
        lookback=14,
        past_exogenous=["x"],
        calendar_features=calendar_features,
        n_jobs=1,
    )


def network_of(name: str) -> tuple[forecast.Model, Windows, np.ndarray]:
    """A network with random weights, since two steps of training leave one near zero, beside the
    linear part of a fit; windows, forecasts.
    """
    model = ridge_of(CALENDAR.get(name, ()))
    (forecaster,) = model.ensemble.forecasters
    network = models.spec({"family": name}, where=name)
    rng = np.random.default_rng(1)
    weights = {
        part: rng.normal(0, 0.3, weight.shape).astype(np.float32)
        for part, weight in weight_specs(network.network(forecaster.task)).items()
    }
    forecaster = replace(forecaster, spec=network, weights=weights)
    series = from_frame(waves(), "df", forecaster.task).by_id["a"]
    (windows,) = forecaster.windows(series, np.arange(100, 140))
    return (
        replace(model, ensemble=Ensemble((forecaster,))),
        windows,
        forecaster.forecast_with_skip(windows),
    )


def select_arrays(windows: Windows, *names: str) -> dict[str, np.ndarray]:
    return {name: getattr(windows, name).astype(np.float32) for name in names}


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_numpy_file_forecasts_what_the_model_does(name: str, tmp_path: Path) -> None:
    model, windows, expected = network_of(name)
    names = ("past", "future") if name in CALENDAR else ("past",)
    # neither the network nor its line is zero
    assert np.abs(expected - windows.last[:, None]).max() > 0.1
    model.export(tmp_path / "net.py")
    written = runpy.run_path(str(tmp_path / "net.py"))["forecast"](**select_arrays(windows, *names))
    np.testing.assert_allclose(written[..., 0], expected, rtol=1e-3, atol=1e-4)
    description = json.loads((tmp_path / "net.json").read_text())
    assert (
        description["past"] == ["y", "y observed", "y since", "x"]
        and description["task"]["lookback"] == 14
    )


def test_a_numpy_file_has_the_products_of_the_linear_part_with_the_calendar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skip, "PRODUCT_LAGS", 4)
    model, windows, _ = network_of("lstm")
    (network,) = model.ensemble.forecasters
    assert network.skip is not None
    shaped = replace(
        network.skip,
        lags=9,
        profile=(3, 2),
        harmonics=(2, 1),
        coefficients=np.zeros((0, 0)),
        change_weights={"a": (0.5,)},
    )
    size = shaped.inputs(windows, network.channels).shape[1] + 1
    shaped = replace(shaped, coefficients=np.random.default_rng(2).normal(0, 0.3, (size, 3)))
    changed = replace(network, skip=shaped)
    without = shaped.coefficients.copy()
    products = calendar_products(windows, network.channels, 3, ((3, 2), (2, 1)), 4)
    without[-1 - products.shape[1] : -1] = 0.0
    model = replace(model, ensemble=Ensemble((changed,)))
    model.export(tmp_path / "net.py")
    written = runpy.run_path(str(tmp_path / "net.py"))["forecast"](
        **select_arrays(windows, "past", "future")
    )
    np.testing.assert_allclose(
        written[..., 0], changed.forecast_with_skip(windows), rtol=1e-4, atol=1e-5
    )
    # what was looked up in the channels before is no part of the file
    assert "change_channels" in vars(changed.channels)
    assert "change_channels" not in (tmp_path / "net.py").read_text().partition("products_of")[2]
    plain = replace(shaped, coefficients=without).forecast(windows, network.channels)
    assert np.abs(plain - shaped.forecast(windows, network.channels)).max() > 0.5


def test_what_is_no_single_pass_is_refused_with_what_to_do(tmp_path: Path) -> None:
    gru, _, _ = network_of("gru")
    with pytest.raises(InputError, match=r"net\.h5: wanted a name that ends in '\.py'"):
        gru.export(tmp_path / "net.h5")
    with pytest.raises(InputError, match=r"'ridge' is no network\. Name a network, such as 'gru'"):
        ridge_of(()).export(tmp_path / "net.py")
    with pytest.raises(InputError, match="seed=1: wanted a place"):
        gru.export(tmp_path / "net.py", seed=1)
    (fitted_gru,) = gru.ensemble.forecasters
    for other, message in (
        (
            replace(fitted_gru, spec=heads.spec_of("narx", "point")),
            "fed back; fit a direct network",
        ),
        (replace(fitted_gru, head=heads.forecaster("gru", "gaussian").head), "fit without `head`"),
    ):
        with pytest.raises(InputError, match=message):
            write_network(Ensemble((other,)), tmp_path / "net.py")
    (target,) = fitted_gru.task.target
    of_changes = target.model_copy(update={"name": "x2", "difference_inputs": True})
    two = fitted_gru.task.model_copy(update={"target": (target, of_changes)})
    with pytest.raises(InputError, match="fit without `difference_inputs`"):
        write_network(Ensemble((replace(fitted_gru, task=two),)), tmp_path / "net.py")
    assert fitted_gru.skip is not None
    by_series = replace(fitted_gru.skip, change_weights={"a": (1.0,), "b": (0.5,)})
    with pytest.raises(InputError, match="in each series; fit one series"):
        write_network(Ensemble((replace(fitted_gru, skip=by_series),)), tmp_path / "net.py")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_network_of_a_run_and_refuses_what_is_none(tmp_path: Path) -> None:
    entry = {
        "calendar": {"kind": "regular", "freq": "1D"},
        "target": {"column": "y", "max_missing": 0.2},
        "horizon": 2,
        "lookback": 7,
        "season_length": 7,
    }
    models = {"naive": {"family": "naive"}, "elman": {"family": "elman", "units": 3}}
    root = tmp_path / "project"
    root.mkdir()
    results = trained(root, waves(), entry, models, {**BUDGET, "seeds": [0], "base_seed": 0})
    done = command(
        root,
        "export",
        "df",
        "--what",
        "network",
        "--models",
        "elman",
        "-o",
        str(tmp_path / "command" / "net.py"),
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "own").mkdir()
    write_network(load_ensemble(results, "elman"), tmp_path / "own" / "net.py")
    assert (tmp_path / "command" / "net.py").read_bytes() == (
        tmp_path / "own" / "net.py"
    ).read_bytes()
    for model, message in (
        ("naive", "Model 'naive' is no network"),
        ("elmann", "Did you mean 'elman'?"),
    ):
        wrong = command(
            root,
            "export",
            "df",
            "--what",
            "network",
            "--models",
            model,
            "-o",
            str(tmp_path / "no.py"),
        )
        assert wrong.returncode == 2 and message in wrong.stderr
    refused = command(root, "export", "df", "--what", "network", "--models", "elman")
    assert (
        refused.returncode == 2
        and "wanted a name that ends in '.py', of the file" in refused.stderr
    )
    assert "Writing the network to -\n" in refused.stderr
