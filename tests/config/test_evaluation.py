"""configs/evaluation.yaml: the shipped levels, and levels that cannot be meant."""

from pathlib import Path

import pytest

from forecast.config.evaluation import load_evaluation
from forecast.system import files
from forecast.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = "alpha: 0.05\nbootstrap_repetitions: 1000\nbootstrap_seed: 0\n"


def test_intervals_are_asked_for_at_80_and_95_percent():
    assert load_evaluation(ROOT / "configs").levels == (0.8, 0.95)


@pytest.mark.parametrize("levels", ["[80, 95]", "[0.95, 0.8]", "[0.8, 0.8]", "[]"])
def test_levels_are_shares_that_rise(tmp_path, levels):
    files.write_text(tmp_path / "evaluation.yaml", f"{SHIPPED}levels: {levels}\n")
    with pytest.raises(InputError, match="levels"):
        load_evaluation(tmp_path)
