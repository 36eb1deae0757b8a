"""What is taken over the held-out blocks, on errors that are given."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.training.narx.net import Narx
from forecast.training.narx.search import Member, _together
from forecast.training.narx.states import with_states

BASE = Narx(1, 1, (1,), (0,), 4)
LINEAR, LARGER, BENT = (with_states(BASE, *order) for order in ((2, 0), (3, 0), (2, 4)))


def folds(errors: dict[Narx, list[float]]) -> list[list[Member]]:
    """A member of every net in every fold, with errors of the given size; those of linear models lie on one side."""
    rng, found = np.random.default_rng(0), []
    for number in range(len(next(iter(errors.values())))):
        signs = {net: rng.choice([-1.0, 1.0], size=200) if net.hidden else np.ones(200) for net in errors}
        found.append([Member(net, np.zeros(0), "states").judged(signs[net] * errors[net][number]) for net in errors])
    return found


@pytest.mark.parametrize(
    ("errors", "taken"),
    [
        ({LINEAR: [1.0, 1.1, 0.9], BENT: [0.2, 0.1, 0.3]}, {BENT}),
        ({LINEAR: [0.5, 0.5, 0.5], BENT: [1.0, 1.0, 1.0]}, {LINEAR}),
        ({LINEAR: [1.0, 2.0, 0.5], LARGER: [0.9, 2.1, 0.5], BENT: [3.0, 1.0, 3.0]}, {LINEAR}),
        ({LINEAR: [3.0, 3.0, 3.0], LARGER: [0.5, 0.6, 0.5], BENT: [2.0, 2.0, 2.0]}, {LARGER}),
        ({BASE: [0.6, 0.6, 0.6], BENT: [0.5, 0.5, 0.5]}, {BASE, BENT}),
    ],
    ids=["clearly better nets", "worse nets", "by chance", "the larger linear one", "the middle of both"],
)
def test_the_families_that_together_follow_the_blocks_best_are_taken_or_a_linear_model(errors, taken) -> None:
    assert {member.net for member in _together(folds(errors))} == taken


def test_nothing_is_taken_where_nothing_follows() -> None:
    assert _together([]) == []
