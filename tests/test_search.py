"""Search spaces refuse what cannot be meant."""

import pytest

from forecast.errors import InputError
from forecast.search import Choice, Integer, LogUniform, Uniform


def test_dimensions_know_what_lies_inside():
    assert 32 in Choice((16, 32)) and 33 not in Choice((16, 32))
    assert [1, 2] in Choice(((1,), (1, 2)))
    assert 0.5 in Uniform(0, 0.5) and 0.6 not in Uniform(0, 0.5)
    assert 1e-3 in LogUniform(1e-4, 1e-2) and 0.0 not in LogUniform(1e-4, 1e-2)
    assert 5 in Integer(1, 9, step=2) and 4 not in Integer(1, 9, step=2) and True not in Integer(1, 9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Choice(()),
        lambda: Choice((1, 1)),
        lambda: Uniform(1, 0),
        lambda: LogUniform(0, 1),
        lambda: Integer(1, 8, step=2),
        lambda: Integer(0, 8, log=True),
    ],
)
def test_an_impossible_dimension_is_refused(make):
    with pytest.raises(InputError, match="wanted"):
        make()
