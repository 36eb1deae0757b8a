import pytest

from forecast.data.web import Deadline, TransientError
from forecast.system.errors import DataError


def waits_of(chance: float, asked_s: float | None = None) -> list[float]:
    """The waits between ten attempts that all fail."""
    waits: list[float] = []
    deadline = Deadline(1e6, attempts=10, sleep=waits.append, chance=lambda: chance)

    def fail() -> None:
        raise TransientError("busy", asked_s)

    with pytest.raises(DataError, match="tried 10 times"):
        deadline.call_with_retries("test", fail)
    return waits


def test_waits_double_from_the_first_to_the_longest():
    assert waits_of(0.0) == [1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_chance_makes_waits_longer_but_none_longer_than_the_longest():
    assert waits_of(1.0) == [1.5, 3, 6, 12, 24, 30, 30, 30, 30]


def test_a_wait_that_the_service_asks_for_is_kept_and_up_to_a_second_longer():
    assert waits_of(1.0, asked_s=60.0) == [61.0] * 9
