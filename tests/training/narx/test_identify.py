"""System identification end to end on small records with a known law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.system.errors import InputError
from forecast.training.narx.identify import LONG, SHORT, Order, Settings, _affordable, identify
from forecast.training.narx.narx import Record
from forecast.training.narx.narx_signals import Scaling, dead_times, delayed, memory, saturation

SMALL = Settings(start=3, folds=2, starts=2, orders=((2, 0, 3, 4),), rounds=((8, 1),), refit_iterations=5)


def tank(rows: int, seed: int, *, full: float = np.inf, dead: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A tank that empties with the root of its level, in raw units (1,000 of level, 50 of inflow); it may overflow."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(0.2, 1.0, size=rows // 10 + 1), 10)[:rows]
    level = np.empty(rows)
    now = 0.5
    for t in range(rows):
        now = min(now + 0.2 * (u[max(t - dead, 0)] - np.sqrt(max(now, 0.0))), full)
        level[t] = now
    return 50 * u[:, None], 1_000 * level[:, None]


def free_run_error(settings: Settings, *, full: float = np.inf, gaps: bool = False) -> float:
    u, y = tank(400, 0, full=full)
    if gaps:
        y[np.random.default_rng(2).uniform(size=len(y)) < 0.05] = np.nan
    model = identify([Record(u, y, 3)], seed=0, settings=settings)
    v, truth = tank(200, 1, full=full)
    run = model.simulate(v, truth[:3])
    assert model.stable
    return float(np.sqrt(np.mean((run - truth)[3:] ** 2)) / truth.std())


def test_the_free_run_follows_an_unseen_record() -> None:
    assert free_run_error(SMALL) < 0.03


def test_it_follows_through_an_overflow() -> None:
    assert free_run_error(SMALL, full=0.6) < 0.1


def test_gaps_in_y_are_passed_over() -> None:
    assert free_run_error(SMALL, gaps=True) < 0.05


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    u, y = tank(120, 0)
    runs = [identify([Record(u, y, 3)], seed=s, settings=SMALL).simulate(u, y[:3]) for s in (0, 0, 1)]
    assert runs[0].tobytes() == runs[1].tobytes()
    assert runs[0].tobytes() != runs[2].tobytes()


def test_the_simulation_uses_only_the_first_measured_rows() -> None:
    u, y = tank(120, 0)
    model = identify([Record(u, y, 3)], seed=0, settings=SMALL)
    run = model.simulate(u, y[:3])
    assert run[:3].tobytes() == y[:3].tobytes()
    with pytest.raises(InputError, match="first 3 measured rows"):
        model.simulate(u, y[:2])


def test_memory_and_time_are_announced_before_the_work() -> None:
    u, y = tank(120, 0)
    said: list[str] = []
    identify([Record(u, y, 3)], seed=0, settings=SMALL, announce=said.append)
    assert said[0].startswith("System identification with 2 folds of 2 starts: about ")


def test_an_output_that_sits_on_its_extreme_is_bounded_there_and_others_far_outside() -> None:
    _, y = tank(400, 0, full=0.6)
    low, high = saturation([Record(y, y, 3)])
    assert high[0] == pytest.approx(600, rel=1e-3)
    assert low[0] < y.min() - 0.9 * np.ptp(y)


def test_a_dead_time_is_found_and_taken_out() -> None:
    u, y = tank(400, 0, dead=9)
    record = Record(u, y, 3)
    scaling = Scaling.fit([record])
    found = dead_times([replace(record, u=scaling.scale_u(u), y=scaling.scale_y(y))])
    assert found[0] in (8, 9)
    assert delayed(np.arange(5.0)[:, None], [2])[:, 0].tolist() == [0, 0, 0, 1, 2]


def test_several_experiments_train_one_model() -> None:
    records = [Record(*tank(150, seed), start=3) for seed in (0, 1)]
    model = identify(records, seed=0, settings=SMALL)
    u, y = tank(100, 2)
    assert np.sqrt(np.mean((model.simulate(u, y[:3]) - y) ** 2)) < 0.1 * y.std()


def test_many_short_experiments_are_held_out_whole() -> None:
    """Too short to be cut: 15 rows each, of which a fold of two would leave no stretch to start from."""
    records = [Record(*(part[:15] for part in tank(40, seed)), start=3) for seed in range(12)]
    model = identify(records, seed=0, settings=SMALL)
    u, y = tank(100, 20)
    assert np.sqrt(np.mean((model.simulate(u, y[:3]) - y) ** 2)) < 0.2 * y.std()
    with pytest.raises(InputError, match="Record 0 has 15 rows"):
        identify(records[:1], seed=0, settings=SMALL)


def test_long_records_are_offered_a_larger_net() -> None:
    def orders(rows: int) -> tuple[Order, ...]:
        u = np.zeros((rows, 1))
        return _affordable(Settings(), [Record(u, u, 5)]).orders

    assert orders(1_000) == SHORT and orders(5_000) == LONG
    assert _affordable(SMALL, [Record(np.zeros((5_000, 1)), np.zeros((5_000, 1)), 3)]).orders == SMALL.orders


def test_orders_too_large_for_the_trainer_are_left_out_and_said_when_no_other_is_left() -> None:
    u, y = tank(120, 0)
    small, large = SMALL.orders[0], (2, 0, 3, 400)
    model = identify([Record(u, y, 3)], seed=0, settings=replace(SMALL, orders=(large, small)))
    assert {member.net.hidden for member in model.members} == {4}
    with pytest.raises(InputError, match=r"at most 2000 weights; this one has \d+ and would take about"):
        identify([Record(u, y, 3)], seed=0, settings=replace(SMALL, orders=(large,)))


def test_a_record_too_short_for_its_folds_is_refused() -> None:
    with pytest.raises(InputError, match=r"Record 0 has 20 rows of u and 20 of y; .* need 24 of both"):
        identify([Record(np.zeros((20, 1)), np.zeros((20, 1)), 3)], seed=0, settings=SMALL)


def test_missing_inputs_are_refused() -> None:
    u, y = tank(120, 0)
    u[5] = np.nan
    with pytest.raises(InputError, match="u has missing values"):
        identify([Record(u, y, 3)], seed=0, settings=SMALL)


def remembering(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """y moves with the product of the input now and 9 rows ago, as in NARMA-10 (Atiya & Parlos 2000)."""
    u = np.random.default_rng(seed).uniform(0.0, 0.5, size=rows)
    y = np.zeros(rows)
    for t in range(9, rows - 1):
        y[t + 1] = 0.5 * y[t] + 1.5 * u[t] * u[t - 9] + 0.1
    return u[:, None], y[:, None]


def test_the_memory_of_the_inputs_is_found_and_of_a_short_one_no_more_than_there_is() -> None:
    far, near = remembering(600, 0), tank(600, 0)
    noise = 1 + 0.01 * np.random.default_rng(1).normal(size=(600, 1))
    assert memory([Record(*far, 5)]) == 11  # u[t - 10] is the furthest
    assert memory([Record(near[0], near[1] * noise, 5)]) <= 6
    assert memory([Record(far[0][:15], far[1][:15], 5)]) == 0


def test_a_record_whose_inputs_matter_longer_than_every_order_is_identified_with_longer_ones() -> None:
    u, y = remembering(600, 0)
    settings = replace(SMALL, orders=(), starts=1, rounds=((15, 1),), refit_iterations=10)
    model = identify([Record(u, y, 3)], seed=0, settings=settings)
    assert {member.net.u_delays for member in model.members} == {tuple(range(11))}
    v, truth = remembering(300, 1)
    run = model.simulate(v, truth[:3])
    assert np.std((run - truth)[20:]) < 0.2 * truth.std()


def test_nets_of_a_system_that_itself_runs_away_under_harder_inputs_are_kept() -> None:
    u = np.random.default_rng(0).uniform(0, 0.037, size=400)
    y = np.zeros(400)
    for t in range(399):
        y[t + 1] = 0.9 * y[t] + 0.12 * y[t] ** 2 + u[t]  # no equilibrium for an input held above 0.021
    settings = replace(SMALL, rounds=((15, 2),), refit_iterations=10)
    model = identify([Record(u[:, None], y[:, None], 3)], seed=0, settings=settings)
    assert (len(model.members), model.dropped, model.stable) == (4, 0, True)
