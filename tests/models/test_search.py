"""Search spaces widen to what a user has set."""

from forecast.models.search import Choice, LogUniform


def test_a_dimension_widens_to_include_a_users_own_value():
    assert Choice((16, 32)).widen_to(48) == Choice((16, 32, 48))
    assert Choice(((1,), (1, 2))).widen_to([1, 2]) == Choice(((1,), (1, 2)))
    assert Choice((16, 32)).widen_to(32) == Choice((16, 32))
    assert LogUniform(1e-3, 1e-2).widen_to(1e-4) == LogUniform(1e-4, 1e-2)
