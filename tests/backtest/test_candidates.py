"""Candidates: each network once per ranking, everything else once."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast import models
from forecast.backtest.candidates import add_references, plan_candidates
from forecast.config.models import SIMPLE_FORECASTS, Models, load_models
from forecast.config.reading import validate_config
from forecast.networks.losses import POINT_LOSSES, PointLoss
from forecast.system.errors import InputError

CONFIG = validate_config(
    Models,
    {
        "grid": "default",
        "grids": {"default": ["naive", "seasonal_naive", "ridge", "small", "narx"]},
        "models": {
            "naive": {"family": "naive"},
            "seasonal_naive": {"family": "seasonal_naive"},
            "ridge": {"family": "ridge"},
            "small": {"family": "lstm", "units": 4},
            "narx": {"family": "narx"},
            "odd": {"family": "lstn"},
        },
    },
    where="models.yaml",
)


def plan_names(only=(), season_length=24):
    return {
        c.name: c for c in plan_candidates(CONFIG, only, season_length=season_length).candidates
    }


def test_a_network_stands_on_the_fitted_skip_and_on_the_last_value():
    plan = plan_names()
    assert list(plan) == [
        "naive",
        "seasonal_naive",
        "ridge",
        "small.linear",
        "small.last",
        "narx.linear",
        "narx.last",
    ]
    assert {name: c.ranking for name, c in plan.items() if c.spec.has_skip} == {
        "small.linear": "shipped",
        "small.last": "architecture",
        "narx.linear": "shipped",
        "narx.last": "architecture",
    }
    assert plan["small.last"].spec.units == 4


def test_only_the_configured_rankings_are_trained():
    shipped, _ = plan_candidates(
        CONFIG.model_copy(update={"rankings": ("shipped",)}), season_length=24
    )
    assert [c.name for c in shipped if c.spec.has_skip] == ["small.linear", "narx.linear"]


def test_each_network_is_compared_with_its_own_skip_standing_alone():
    rows = {name: c.skip_model() for name, c in plan_names().items()}
    assert (rows["small.linear"], rows["small.last"]) == ("ridge", "naive")
    assert rows["narx.linear"] == "arx"  # one step at a time, like the network beside it
    assert rows["ridge"] is None


def test_without_a_season_what_lives_of_it_is_left_out_with_the_reason():
    assert "seasonal_naive" not in plan_names(season_length=1)
    assert plan_candidates(CONFIG, season_length=1).unsuited == {
        "seasonal_naive": "without a season it is naive"
    }
    assert plan_candidates(CONFIG, season_length=24).unsuited == {}


@pytest.mark.parametrize(
    ("options", "season_length", "why"),
    [
        ({"family": "auto_arima"}, 24, "leaves out the season of 24 steps"),
        ({"family": "auto_arima"}, 1, ""),
        ({"family": "auto_arima", "fourier": 6}, 1, "need a season"),
        ({"family": "auto_arima", "fourier": 6}, 7, ""),
        ({"family": "mstl"}, 1, "needs a season"),
        ({"family": "har"}, 5, ""),
        ({"family": "har"}, 24, "no season but trading weeks"),
        ({"family": "auto_ets", "seasonal": "kept"}, 1, "no season to keep"),
    ],
)
def test_a_baseline_says_which_datasets_it_does_not_suit(options, season_length, why):
    reason = models.spec(options, where="test").reason_unsuited(season_length)
    assert why in reason and bool(why) == bool(reason)


def test_the_linear_part_of_the_networks_standing_alone_is_fitted_as_often_as_they_are():
    entries = {**CONFIG.models, "ridge": {"family": "ridge", "refit": "monthly"}}
    with pytest.raises(
        InputError,
        match=r"models\.ridge .* found refit: monthly, and of the networks 'never'\. Give",
    ):
        plan_candidates(CONFIG.model_copy(update={"models": entries}), season_length=24)
    monthly = CONFIG.model_copy(update={"refit": "monthly"})
    assert plan_candidates(monthly, season_length=24).candidates


def test_what_the_file_says_of_refits_holds_for_every_entry_that_says_nothing_itself():
    entries = {
        **CONFIG.models,
        "once": {"family": "theta", "refit": "never"},
        "often": {"family": "theta"},
    }
    update = {
        "models": entries,
        "grid": "it",
        "grids": {"it": ("naive", "once", "often")},
        "refit": 30,
    }
    spec_by_model = {
        candidate.model: candidate.spec
        for candidate in plan_candidates(
            CONFIG.model_copy(update=update), season_length=24
        ).candidates
    }
    assert (spec_by_model["once"].refit, spec_by_model["often"].refit) == (
        "never",
        30,
    ) and not spec_by_model["naive"].has_refits


def test_a_narrowed_grid_keeps_the_rows_it_is_compared_with():
    assert add_references(("small", "ridge"), CONFIG) == (
        "naive",
        "seasonal_naive",
        "ridge",
        "small",
    )
    assert add_references((), CONFIG) == ()
    shipped = load_models(Path(__file__).parents[2] / "configs")
    assert {*SIMPLE_FORECASTS} <= set(add_references(("gru",), shipped))


def test_a_reference_that_is_not_configured_does_not_hide_the_name_that_is_wrong():
    assert "arx" not in CONFIG.models
    with pytest.raises(InputError, match=r"Unknown model 'smal'\. Did you mean 'small'\?"):
        plan_names(only=add_references(("smal",), CONFIG))


def test_an_unknown_family_is_named_with_the_nearest():
    with pytest.raises(
        InputError, match=r"models\.odd: unknown family 'lstn'\. Did you mean 'lstm'\?"
    ):
        plan_names(only=("odd",))


def test_a_family_of_a_folder_that_is_added_later_is_known(tmp_path, monkeypatch):
    assert models.spec({"family": "naive"}, where="before").family == "naive"
    source = Path(models.families.__path__[0], "naive.py").read_text(encoding="utf-8")
    (tmp_path / "repeats.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(models.families, "__path__", [*models.families.__path__, str(tmp_path)])
    assert (
        models.spec({"family": "repeats"}, where="after").summary
        == models.spec({"family": "naive"}, where="own").summary
    )


def test_a_folder_whose_name_begins_with_that_of_the_package_is_not_in_it(tmp_path, monkeypatch):
    source = Path(models.families.__path__[0], "naive.py").read_text(encoding="utf-8")
    folder = tmp_path / "forecast-mine"
    folder.mkdir()
    (folder / "beside.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(models.families, "__path__", [*models.families.__path__, str(folder)])
    monkeypatch.setattr(models.base, "__file__", str(tmp_path / "forecast/models/base.py"))
    assert models.spec({"family": "beside"}, where="x").needs_this_process


def test_a_family_and_a_loss_of_the_caller_are_fitted_in_the_process_that_knows_them(
    tmp_path, monkeypatch
):
    source = Path(models.families.__path__[0], "naive.py").read_text(encoding="utf-8")
    (tmp_path / "of_caller.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(models.families, "__path__", [*models.families.__path__, str(tmp_path)])
    of_caller = PointLoss("of_caller", lambda xp, error: error**4, lambda xp, error: error**4)
    monkeypatch.setitem(POINT_LOSSES, "of_caller", of_caller)
    needs_process = {
        (entry["family"], entry.get("loss")): models.spec(entry, where="x").needs_this_process
        for entry in (
            {"family": "naive"},
            {"family": "of_caller"},
            {"family": "gru", "loss": "mse"},
            {"family": "gru", "loss": "of_caller"},
        )
    }
    assert needs_process == {
        ("naive", None): False,
        ("of_caller", None): True,
        ("gru", "mse"): False,
        ("gru", "of_caller"): True,
    }
