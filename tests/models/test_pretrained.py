"""Families with weights trained elsewhere: found or refused in a sentence, never fetched unasked;
where the extra `pretrained` is installed, forecasts of tiny random weights made here.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecast.forecaster import Budget, Forecaster, fit
from forecast.models import spec
from forecast.models.families import chronos
from forecast.system.errors import InputError
from tests.support import problems

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("torch", "chronos", "transformers"))
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="needs the extra `pretrained`")
KINDS = ("bolt", "chronos2", "timesfm")


def fitted(family: str, weights: Path | str, **options) -> Forecaster:
    entry = {"family": family, "weights": str(weights), **options}
    checked = spec(entry, where="a test")
    return fit(problems.shops(), checked, skip=None, seed=0, budget=Budget(0, 1)).forecaster


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Tiny random weights of every architecture, saved as their libraries save them."""
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config, TimesFmConfig, TimesFmModelForPrediction

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    quantiles = [k / 10 for k in range(1, 10)]
    patches = {"context_length": 64, "input_patch_size": 4, "input_patch_stride": 4}
    shared = {**patches, "quantiles": quantiles, "use_reg_token": True}
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    bolt = T5Config(**sizes, vocab_size=2, pad_token_id=0, decoder_start_token_id=0)
    bolt.chronos_config = {**shared, "prediction_length": 8}
    bolt.chronos_pipeline_class = "ChronosBoltPipeline"
    ChronosBoltModelForForecasting(bolt).save_pretrained(folder / "bolt")
    second = Chronos2CoreConfig(**sizes)
    second.chronos_config = {**shared, "output_patch_size": 4, "max_output_patches": 4}
    second.chronos_pipeline_class = "Chronos2Pipeline"
    Chronos2Model(second).save_pretrained(folder / "chronos2")
    layers = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "head_dim": 4}
    times = TimesFmConfig(
        **layers, num_attention_heads=2, patch_length=4, context_length=32, horizon_length=8
    )
    TimesFmModelForPrediction(times).save_pretrained(folder / "timesfm")
    return {kind: folder / kind for kind in KINDS}


def family_of(kind: str) -> str:
    return "timesfm" if kind == "timesfm" else "chronos"


@needs_extra
@pytest.mark.parametrize("kind", KINDS)
def test_given_weights_forecast_every_target_and_nothing_behind_the_cutoff(weights, kind):
    model = fitted(family_of(kind), weights[kind])
    panel = problems.shops().panel
    forecasts = model.predict(panel, {"north": np.array([60, 100])})["north"]
    assert forecasts.shape == (2, problems.HORIZON, 2) and np.isfinite(forecasts).all()
    assert model.n_params == 0
    changed = problems.copied(panel)
    changed.by_id["north"].values[61:] += 50.0
    y_hat_again = model.predict(changed, {"north": np.array([60])})["north"]
    np.testing.assert_allclose(y_hat_again[0], forecasts[0], rtol=1e-6)


@needs_extra
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_forecasts_the_same_and_refuses_other_weights(weights, kind, tmp_path):
    import shutil

    copied = tmp_path / "weights"
    shutil.copytree(weights[kind], copied)
    model = fitted(family_of(kind), copied)
    model.save(tmp_path / "model")
    assert sum(path.stat().st_size for path in (tmp_path / "model").iterdir()) < 100_000
    loaded = Forecaster.load(tmp_path / "model")
    panel = problems.shops().panel
    rows = {"south": np.array([80])}
    np.testing.assert_array_equal(
        loaded.predict(panel, rows)["south"], model.predict(panel, rows)["south"]
    )
    config = copied / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(InputError, match=r"the weights have the digest .* those of the fit"):
        loaded.predict(panel, rows)


def test_triton_is_not_imported_where_tensorflow_is(monkeypatch, tmp_path):
    """With both of their LLVMs in it, a process ends by `LLVM ERROR: inconsistency in registered
    CommandLine options`.
    """
    (tmp_path / "triton.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        chronos.Spec, "load_model", lambda _, folder: importlib.util.find_spec("triton")
    )
    monkeypatch.setitem(sys.modules, "triton", None)  # taken away again at the end
    del sys.modules["triton"]
    entry = chronos.Spec(family="chronos", weights="w")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert chronos._load_cached(entry, tmp_path, "before")
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    assert chronos._load_cached(entry, tmp_path, "beside") is None


@needs_extra
def test_a_process_with_tensorflow_loads_weights(weights):
    code = (
        "import sys, tensorflow; from pathlib import Path;"
        " from forecast.models.families import chronos;"
        " chronos._load_cached(chronos.Spec(), Path(sys.argv[1]), 'any')"
    )
    subprocess.run([sys.executable, "-c", code, str(weights["bolt"])], check=True)


@needs_extra
def test_weights_of_another_family_are_refused_in_a_sentence(weights):
    with pytest.raises(InputError, match="not weights of family chronos"):
        fitted("chronos", weights["timesfm"])


@needs_extra
def test_a_longer_horizon_than_timesfm_forecasts_is_refused(weights):
    model = fitted("timesfm", weights["timesfm"])
    with pytest.raises(InputError, match="the weights forecast 8 steps, the task wants 9"):
        model.spec.forecast_contexts(
            model.spec.load_model(weights["timesfm"]), np.zeros((1, 10), np.float32), 9
        )


@needs_extra
def test_a_name_of_the_hub_is_not_fetched_unasked(monkeypatch):
    import huggingface_hub

    fetched = []
    find = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, local_files_only: (
            fetched.append(local_files_only) or find(name, local_files_only=local_files_only)
        ),
    )
    with pytest.raises(
        InputError, match=r"'nobody/nothing' are not on this machine\. Give a folder"
    ):
        fitted("chronos", "nobody/nothing")
    assert fetched == [True]


@needs_extra
def test_the_report_and_the_audit_say_licence_training_cut_and_what_is_not_known(weights):
    entry = {"family": "chronos", "weights": "w", "licence": "Apache-2.0"}
    checked = spec({**entry, "trained_until": "2024-11-30"}, where="a test")
    assert checked.remark.startswith(
        "Weights w: licence Apache-2.0, trained on data until 2024-11-30; whether on these series"
    )


def test_an_entry_without_weights_says_what_to_add():
    with pytest.raises(InputError, match="found no `weights`, wanted a folder"):
        fitted("chronos", "")


@pytest.mark.parametrize("family", ["chronos", "timesfm"])
def test_without_the_extra_the_command_that_installs_it_is_named(family, monkeypatch, tmp_path):
    monkeypatch.setattr(chronos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs torch.*rolling-forecast\[pretrained\]"):
        fitted(family, tmp_path)


@needs_extra
def test_it_is_a_row_of_a_comparison_with_tests_intervals_and_a_remark(weights, tmp_path):
    import pandas as pd

    import forecast

    days = np.arange(240)
    frame = pd.DataFrame(
        {
            "ds": pd.date_range("2024-01-01", periods=240),
            "y": 5 + np.sin(2 * np.pi * days / 7) + np.random.default_rng(0).normal(0, 0.1, 240),
        }
    )
    entry = {"family": "chronos", "weights": str(weights["bolt"]), "licence": "Apache-2.0"}
    board = forecast.compare(
        frame, ["naive", entry], freq="1D", horizon=2, lookback=14, tuning="quick", n_jobs=1
    )
    table = board.leaderboard.set_index("model")
    assert table.loc["chronos", "status"] == "ok" and table.loc["chronos", "vs_bar"]
    assert "chronos-lo-80" in board.forecasts("chronos", levels=[80])
    board.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "licence Apache-2.0, trained on data until an unnamed day; whether on these" in page
