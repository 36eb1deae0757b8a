"""configs/tuning.yaml: one budget, misspelt keys refused."""

from pathlib import Path

import pytest

from forecast.config.reading import validated
from forecast.config.tuning import Tuning, load_tuning
from forecast.system.errors import InputError

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
        ({"seeds": [1, 1]}, "distinct"),
    ],
)
def test_a_wrong_budget_is_named(change, message):
    with pytest.raises(InputError, match=message):
        validated(Tuning, GIVEN | change, where="configs/tuning.yaml")
