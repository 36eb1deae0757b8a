"""A network that was given more or less than the others stops the comparison, by name."""

from __future__ import annotations

import pytest

from forecast.comparison.fairness import check_same_budget
from forecast.config.tuning import Tuning
from forecast.system.errors import InputError

BUDGET = Tuning(n_trials=2, trial_steps=10, final_steps=30, seeds=(0, 1), base_seed=0)


def record(candidate="gru.linear", **changed):
    fair = {
        "candidate": candidate,
        "model": candidate.partition(".")[0],
        "ranking": "shipped",
        "kind": "network",
        "status": "ok",
        "params": {"trainer": "gradient"},
        "trials": [{}, {}],
        "tuning_gradient_steps": 20,
        "gradient_steps": 60,
        "seeds": [{"seed": 0}, {"seed": 1}],
    }
    return {**fair, **changed}


def test_networks_with_the_configured_budget_pass_without_exemption():
    assert check_same_budget([record(), record("lstm.last")], BUDGET) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trials": [{}, {}, {}]}, "3 tuning trials, wanted 2"),
        ({"tuning_gradient_steps": 40}, "40 gradient steps in tuning, wanted 20"),
        ({"gradient_steps": 90}, "90 gradient steps in training, wanted 60"),
        ({"seeds": [{"seed": 0}, {"seed": 7}]}, r"seeds \[0, 7\], wanted \[0, 1\]"),
    ],
)
def test_another_budget_is_refused_by_name(changed, said):
    with pytest.raises(InputError, match=rf"nothing is compared: lstm\.last has {said}"):
        check_same_budget([record(), record("lstm.last", **changed)], BUDGET)


def test_every_odd_network_is_named_at_once():
    odd = [record("a.linear", gradient_steps=1), record("b.linear", trials=[])]
    with pytest.raises(InputError, match=r"a\.linear has .*; b\.linear has 0 tuning trials"):
        check_same_budget(odd, BUDGET)


def test_baselines_and_failed_models_have_no_budget_to_keep():
    naive = record("naive", kind="baseline", trials=[], gradient_steps=0, seeds=[{"seed": 0}])
    assert check_same_budget([naive, record(status="failed", seeds=[])], BUDGET) == []


def test_levenberg_marquardt_is_exempt_from_gradient_steps_openly_and_not_from_the_seeds():
    own = {"params": {"trainer": "lm"}, "trials": [], "tuning_gradient_steps": 0, "gradient_steps": 0}
    (found,) = check_same_budget([record("narx_lm.linear", **own)], BUDGET)
    assert found["model"] == "narx_lm" and "no gradient steps" in found["why"]
    with pytest.raises(InputError, match=r"narx_lm\.linear has seeds"):
        check_same_budget([record("narx_lm.linear", **own, seeds=[{"seed": 0}])], BUDGET)
