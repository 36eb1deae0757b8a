"""models.yaml, tuning.yaml and evaluation.yaml: shared and overridden options, one budget, levels
that rise.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast import models
from forecast.backtest.candidates import plan_candidates, result_key
from forecast.config.models import (
    Evaluation,
    Models,
    Training,
    Tuning,
    load_evaluation,
    load_tuning,
)
from forecast.config.operation import Schedule
from forecast.config.reading import read_yaml, validate_config
from forecast.system import files
from forecast.system.errors import InputError
from forecast.tracking.runs import parameter_texts


def config_of(entries, **shared):
    content = {"grid": "g", "grids": {"g": list(entries)}, "models": entries, **shared}
    return validate_config(Models, content, where="configs/models.yaml")


def specs_of(entries, **shared):
    planned = plan_candidates(config_of(entries, **shared), season_length=4).candidates
    return {c.model: c.spec for c in planned}


def test_a_file_of_settings_that_a_new_project_lacks_is_told_where_an_example_stands(tmp_path):
    with pytest.raises(InputError, match=r"no such file.* example of configs/examples"):
        read_yaml(tmp_path / "experiments.yaml")


@pytest.mark.parametrize(
    ("model", "content", "what_stands"),
    [
        (Schedule, {"jobs": {"a": {"run": "retrian weather", "at": "05:30"}}}, "'retrian'"),
        (Schedule, {"jobs": {"a": {"run": "status", "at": ["05:30", "25:30"]}}}, "'25:30'"),
        (Evaluation, {"alpha": 0.05, "levels": [0.7, 0.6]}, "0.7"),
    ],
)
def test_a_fault_names_what_was_found_once(model, content, what_stands):
    with pytest.raises(InputError, match="key '") as fault:
        validate_config(model, content, where="a.yaml")
    assert str(fault.value).count(what_stands) == 1


def test_nothing_said_is_cosine_adamw():
    assert specs_of({"gru": {"family": "gru"}})["gru"].training == Training()
    expected = {"rule": "adamw", "schedule": "cosine", "l2": 0.0, "patience": None}
    assert Training().model_dump() == {**expected, "l1": 0.0}


def test_the_shared_block_reaches_every_network_and_an_entrys_own_key_goes_before_it():
    entries = {
        "ridge": {"family": "ridge"},
        "gru": {"family": "gru"},
        "rnn": {"family": "rnn", "training": {"rule": "sgd"}},
        "narx_lm": {"family": "narx", "trainer": "lm"},
    }
    specs = specs_of(entries, training={"rule": "momentum", "patience": 4})
    assert (specs["gru"].training.rule, specs["gru"].training.patience) == ("momentum", 4)
    assert (specs["rnn"].training.rule, specs["rnn"].training.patience) == ("sgd", 4)
    assert specs["narx_lm"].training == Training()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"family": "gru", "training": {"rul": "sgd"}},
            r"unknown key 'training.rul'. Did you mean 'rule'",
        ),
        (
            {"family": "gru", "training": {"rule": "adagrad"}},
            r"key 'training.rule': Input should be 'sgd', 'momentum'",
        ),
        (
            {"family": "gru", "training": {"rule": "adam"}, "weight_decay": 0.1},
            "weight_decay has no effect with rule: adam",
        ),
        ({"family": "gru", "lm": {"restarts": 2}}, "lm has no effect with trainer: gradient"),
        (
            {"family": "narx", "trainer": "lm", "dropout": 0.1},
            "dropout has no effect with trainer: lm",
        ),
        (
            {"family": "narx", "trainer": "lm", "training": {"rule": "sgd"}},
            "training has no effect with trainer: lm",
        ),
        (
            {"family": "narx", "trainer": "lm", "lm": {"restart": 2}},
            r"'lm.restart'. Did you mean 'restarts'",
        ),
        ({"family": "bidirectional", "trainer": "lm"}, "train this family by gradient"),
        ({"family": "encoder_decoder", "trainer": "lm"}, "train this family by gradient"),
        (
            {"family": "encoder_decoder", "dropout": 0.2},
            "dropout has no effect on an encoder-decoder",
        ),
    ],
)
def test_what_would_do_nothing_or_cannot_be_done_is_refused(entry, message):
    with pytest.raises(InputError, match=message):
        specs_of({"it": entry})


def test_a_misspelt_shared_key_is_refused():
    with pytest.raises(
        InputError, match=r"unknown key 'training.scedule'. Did you mean 'schedule'"
    ):
        config_of({"gru": {"family": "gru"}}, training={"scedule": "constant"})


def test_an_option_is_in_the_key_of_its_results_and_in_mlflows_parameters():
    plain, changed = (
        models.spec({"family": "gru", "training": training}, where="test").model_dump(mode="json")
        for training in ({}, {"schedule": "constant"})
    )
    assert result_key(spec=plain) != result_key(spec=changed)
    assert parameter_texts(changed)["training.schedule"] == "constant"


def test_tuning_varies_what_the_trainer_reads():
    gradient, lm = (
        models.spec({"family": "narx", **entry}, where="test").search_space()
        for entry in ({}, {"trainer": "lm"})
    )
    assert set(gradient) == {"learning_rate", "dropout", "units", "target_lags"}
    assert set(lm) == {"units", "target_lags"} and max(lm["units"].options) == 16


GIVEN = {"n_trials": 8, "trial_steps": 300, "final_steps": 600, "seeds": [0, 1, 2], "base_seed": 0}


def test_the_projects_budget_is_valid_and_has_three_seeds():
    budget = load_tuning(Path(__file__).parents[2] / "configs")
    assert budget.seeds == (0, 1, 2) and budget.n_trials >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_trails": 8}, "unknown key 'n_trails'. Did you mean 'n_trials'"),
        ({"n_trials": 0}, "key 'n_trials'"),
        ({"seeds": []}, "key 'seeds'"),
        ({"seeds": [1, 1]}, "'1' stands twice"),
        ({"seeds": [2**31]}, "key 'seeds.0'.*less than 2147483648"),
    ],
)
def test_a_wrong_budget_is_named(change, message):
    with pytest.raises(InputError, match=message):
        validate_config(Tuning, GIVEN | change, where="configs/tuning.yaml")


ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = "alpha: 0.05\n"


def test_intervals_are_asked_for_at_80_and_95_percent():
    assert load_evaluation(ROOT / "configs").levels == (80, 95)


@pytest.mark.parametrize("levels", ["[0.8]", "[80, 0.95]", "[100]", "[-5]", "[.nan]"])
def test_a_level_that_is_no_percentage_is_refused_with_an_example_of_one(tmp_path, levels):
    files.write_text(tmp_path / "evaluation.yaml", f"{SHIPPED}levels: {levels}\n")
    with pytest.raises(InputError, match=r"'levels': wanted percent .* such as \[80, 95\]"):
        load_evaluation(tmp_path)


@pytest.mark.parametrize("levels", ["[0.8, 0.95]", "[95, 80]", "[80, 80]", "[]"])
def test_levels_are_shares_that_rise(tmp_path, levels):
    files.write_text(tmp_path / "evaluation.yaml", f"{SHIPPED}levels: {levels}\n")
    with pytest.raises(InputError, match="levels"):
        load_evaluation(tmp_path)
