"""Search spaces refuse what cannot be meant."""

import pytest

from forecast.models.search import Choice, LogUniform
from forecast.system.errors import InputError


def test_dimensions_know_what_lies_inside():
    assert 32 in Choice((16, 32)) and 33 not in Choice((16, 32))
    assert [1, 2] in Choice(((1,), (1, 2)))
    assert (
        1e-3 in LogUniform(1e-4, 1e-2)
        and 0.0 not in LogUniform(1e-4, 1e-2)
        and True not in LogUniform(0.5, 2)
    )


def test_a_dimension_widens_to_include_a_users_own_value():
    assert Choice((16, 32)).widen_to(48) == Choice((16, 32, 48))
    assert Choice(((1,), (1, 2))).widen_to([1, 2]) == Choice(((1,), (1, 2)))
    assert LogUniform(1e-3, 1e-2).widen_to(1e-4) == LogUniform(1e-4, 1e-2)


@pytest.mark.parametrize(
    "widen",
    [lambda: LogUniform(1e-3, 1).widen_to(0.0), lambda: LogUniform(1e-3, 1).widen_to("a")],
)
def test_a_value_of_the_wrong_kind_widens_nothing(widen):
    with pytest.raises(InputError, match="wanted"):
        widen()


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogUniform(0, 1),
        lambda: LogUniform(2, 1),
    ],
)
def test_an_impossible_dimension_is_refused(make):
    with pytest.raises(InputError, match="wanted"):
        make()
