"""System identification end to end on small experiments with a known law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.system.errors import InputError
from forecast.training.narx.experiment import Experiment
from forecast.training.narx.identify import LONG, SHORT, Order, SearchSettings, _affordable, identify
from tests.training.narx.systems import remembering, tank

SMALL = SearchSettings(start=3, folds=2, starts=2, orders=((2, 0, 3, 4),), rounds=((8, 1),), refit_iterations=5)


def free_run_error(settings: SearchSettings, *, full: float = np.inf, gaps: bool = False) -> float:
    u, y = tank(400, 0, full=full)
    if gaps:
        y[np.random.default_rng(2).uniform(size=len(y)) < 0.05] = np.nan
    model = identify([Experiment(u, y)], seed=0, settings=settings)
    v, truth = tank(200, 1, full=full)
    run = model.simulate(v, truth[:3])
    assert model.stable
    return float(np.sqrt(np.mean((run - truth)[3:] ** 2)) / truth.std())


def test_the_free_run_follows_an_unseen_experiment() -> None:
    assert free_run_error(SMALL) < 0.03


def test_it_follows_through_an_overflow() -> None:
    assert free_run_error(SMALL, full=0.6) < 0.1


def test_gaps_in_y_are_passed_over() -> None:
    assert free_run_error(SMALL, gaps=True) < 0.05


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    u, y = tank(120, 0)
    runs = [identify([Experiment(u, y)], seed=s, settings=SMALL).simulate(u, y[:3]) for s in (0, 0, 1)]
    assert runs[0].tobytes() == runs[1].tobytes()
    assert runs[0].tobytes() != runs[2].tobytes()


def test_the_simulation_uses_only_the_first_measured_rows() -> None:
    u, y = tank(120, 0)
    model = identify([Experiment(u, y)], seed=0, settings=SMALL)
    run = model.simulate(u, y[:3])
    assert run[:3].tobytes() == y[:3].tobytes()
    with pytest.raises(InputError, match="first 3 measured rows"):
        model.simulate(u, y[:2])


def test_memory_and_time_are_announced_before_the_work() -> None:
    u, y = tank(120, 0)
    said: list[str] = []
    identify([Experiment(u, y)], seed=0, settings=SMALL, announce=said.append)
    assert said[0].startswith("System identification with 2 folds of 2 starts: about ")


def test_several_experiments_train_one_model() -> None:
    experiments = [Experiment(*tank(150, seed)) for seed in (0, 1)]
    model = identify(experiments, seed=0, settings=SMALL)
    u, y = tank(100, 2)
    assert np.sqrt(np.mean((model.simulate(u, y[:3]) - y) ** 2)) < 0.1 * y.std()


def test_many_short_experiments_are_held_out_whole() -> None:
    """Too short to be cut: 15 rows each, of which a fold of two would leave no stretch to start from."""
    experiments = [Experiment(*(part[:15] for part in tank(40, seed))) for seed in range(12)]
    model = identify(experiments, seed=0, settings=SMALL)
    u, y = tank(100, 20)
    assert np.sqrt(np.mean((model.simulate(u, y[:3]) - y) ** 2)) < 0.2 * y.std()
    with pytest.raises(InputError, match="Experiment 0 has 15 rows"):
        identify(experiments[:1], seed=0, settings=SMALL)


def test_long_experiments_are_offered_a_larger_net() -> None:
    def orders(rows: int) -> tuple[Order, ...]:
        u = np.zeros((rows, 1))
        return _affordable(SearchSettings(), [Experiment(u, u)]).orders

    assert orders(1_000) == SHORT and orders(5_000) == LONG
    assert _affordable(SMALL, [Experiment(np.zeros((5_000, 1)), np.zeros((5_000, 1)))]).orders == SMALL.orders


def test_orders_too_large_for_the_trainer_are_left_out_and_said_when_no_other_is_left() -> None:
    u, y = tank(120, 0)
    small, large = SMALL.orders[0], (2, 0, 3, 400)
    model = identify([Experiment(u, y)], seed=0, settings=replace(SMALL, orders=(large, small)))
    assert {member.net.hidden for member in model.members} == {4}
    with pytest.raises(InputError, match=r"at most 2000 weights; this one has \d+ and would take about"):
        identify([Experiment(u, y)], seed=0, settings=replace(SMALL, orders=(large,)))


def test_an_experiment_too_short_for_its_folds_is_refused() -> None:
    with pytest.raises(InputError, match=r"Experiment 0 has 20 rows; .* need 24"):
        identify([Experiment(np.zeros((20, 1)), np.zeros((20, 1)))], seed=0, settings=SMALL)


def test_missing_inputs_are_refused() -> None:
    u, y = tank(120, 0)
    u[5] = np.nan
    with pytest.raises(InputError, match="u is missing in row 5, column 0"):
        identify([Experiment(u, y)], seed=0, settings=SMALL)


def test_an_experiment_whose_inputs_matter_longer_than_every_order_is_identified_with_longer_ones() -> None:
    u, y = remembering(600, 0)
    settings = replace(SMALL, orders=(), starts=1, rounds=((15, 1),), refit_iterations=10)
    model = identify([Experiment(u, y)], seed=0, settings=settings)
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
    model = identify([Experiment(u[:, None], y[:, None])], seed=0, settings=settings)
    assert (len(model.members), model.dropped, model.stable) == (4, 0, True)
