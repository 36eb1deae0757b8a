"""Which recipes train the same."""

from __future__ import annotations

import pytest

from forecast.data.records import FullRecipe, MemberRecipe


def member(name: str, weight: float, **params: float) -> MemberRecipe:
    return MemberRecipe(
        candidate=name, model=name, params=params, ranking="baseline", weight=weight
    )


def combination(*members: MemberRecipe, rule: str = "stacked") -> FullRecipe:
    return FullRecipe(
        candidate=rule,
        model=rule,
        params={"weights": "learnt"},
        ranking="shipped",
        members=members,
    )


SERVED = combination(member("ridge", 0.7, alpha=1.0), member("boosting", 0.3, trees=40.0))


@pytest.mark.parametrize(
    ("other", "is_alike"),
    [
        (combination(member("boosting", 0.9, trees=40.0), member("ridge", 0.1, alpha=1.0)), True),
        (combination(member("ridge", 1.0, alpha=1.0)), True),
        (combination(member("ridge", 1.0, alpha=2.0)), False),
        (combination(*SERVED.members, rule="mean"), False),
        (combination(member("gru", 1.0)), False),
    ],
    ids=[
        "other weights",
        "a member left out",
        "another tuned value",
        "another rule",
        "no common member",
    ],
)
def test_recipes_train_alike_whatever_the_weights_that_they_learn(other, is_alike):
    assert SERVED.trains_like(other) is is_alike
    assert other.trains_like(SERVED) is is_alike
