"""System identification end to end on small experiments with a known law: one model with everything
a model has.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from bench.simulated_systems import SLOW, SYSTEMS
from bench.simulated_systems import simulated as simulated_record
from bench.simulated_systems import slow as slow_record
from forecast.identification import (
    Experiment,
    Model,
    Watch,
    export,
    identify,
    narxnet,
    random_steps,
    search,
    train,
)
from forecast.identification import tank as simulated
from forecast.identification.loops import median_run
from forecast.identification.member import Member
from forecast.identification.narx import Narx
from forecast.identification.search_settings import (
    BRIEF,
    LONG,
    SHORT,
    Order,
    SearchSettings,
    limit_folds,
    limit_work,
)
from forecast.system.errors import InputError
from forecast.training import levenberg_marquardt as lm
from tests.identification.systems import remembering, tank

SMALL = SearchSettings(
    start=3,
    folds=2,
    starts=2,
    orders=((2, 0, 3, 4),),
    rounds=((8, 1),),
    refit_iterations=5,
    states=(),
    integrating=(),
)
WITH_STATES = replace(SMALL, starts=0, states=((2, 4),), rounds=((8, 2),))


def free_run_error(settings: SearchSettings, *, full: float = np.inf, gaps: bool = False) -> float:
    u, y = tank(400, 0, full=full)
    if gaps:
        y[np.random.default_rng(2).uniform(size=len(y)) < 0.05] = np.nan
    model = identify(Experiment(u, y), seed=0, settings=settings)
    v, truth = tank(200, 1, full=full)
    run = model.parallel(v, truth[:3]).y
    assert not [note for note in model.notes if "leaves its bounds" in note]
    return float(np.sqrt(np.mean((run - truth)[3:] ** 2)) / truth.std())


def test_long_records_of_several_outputs_get_fewer_folds() -> None:
    def folds(rows: int, outputs: int) -> int:
        return limit_work(
            replace(SMALL, folds=5), [Experiment(None, np.zeros((rows, outputs)))]
        ).folds

    assert (folds(40_000, 1), folds(1_500, 3), folds(40_000, 3)) == (5, 5, 3)


def test_the_free_run_follows_an_unseen_experiment() -> None:
    assert free_run_error(SMALL) < 0.03


def test_a_short_record_of_a_nonlinear_system_gets_a_nonlinear_net() -> None:
    """A linear model leaves 0.077 here."""
    whole = simulated(600, noise=0.005)
    model = identify(whole.part(slice(0, 360)), settings=SearchSettings(folds=3))
    free = model.parallel(whole.u[360:], model.prepare(whole.u[:360], whole.y[:360])).y
    assert np.sqrt(np.mean((free - whole.y[360:]) ** 2)) < 0.04 * whole.y.std()


def test_a_series_without_inputs_that_no_free_run_follows_is_said_to_be_none() -> None:
    y = np.empty(300)
    y[0] = 0.3
    for t in range(1, 300):
        y[t] = 3.9 * y[t - 1] * (1 - y[t - 1])  # the logistic map: chaos
    model = identify(Experiment(None, y), settings=SMALL)
    assert any("no simulation" in note and "for_use" in note for note in model.notes)


def test_it_follows_through_an_overflow() -> None:
    assert free_run_error(SMALL, full=0.6) < 0.1


def test_a_mass_with_dry_friction_is_followed_where_arx_is_not_and_the_way_is_said() -> None:
    """Force to position: it integrates, and noise hides what it does from row to row."""

    def pushed(seed: int) -> Experiment:
        rng = np.random.default_rng(seed)
        force, speed, place = np.repeat(rng.uniform(-1.0, 1.0, 90), 8), 0.0, np.zeros(721)
        for t, push in enumerate(force):
            speed += 0.1 * (push - 0.5 * speed - 0.3 * np.tanh(10 * speed))
            place[t + 1] = place[t] + 0.1 * speed
        return Experiment(force, place[1:] + 0.01 * place.std() * rng.normal(size=720))

    first, last = pushed(0), pushed(1)
    settings = SearchSettings(
        folds=2, starts=1, states=(), integrating=((4, 4),) * 3, rounds=((20, 2), (40, 2))
    )
    model, arx = (
        identify(first, settings=settings),
        train(narxnet(range(6), range(1, 5), ()), first),
    )
    runs = [m.parallel(last.u, last.y[: m.start]).y for m in (model, arx)]
    error, linear = (float(np.sqrt(np.mean((run - last.y) ** 2)) / last.y.std()) for run in runs)
    assert error < 0.3 * linear and "on integrating states" in " ".join(model.notes)


def test_a_net_of_a_record_taken_at_long_strides_is_run_under_inputs_not_measured() -> None:
    rng = np.random.default_rng(0)
    u = np.repeat(rng.uniform(-1, 1, 13), 2_000)[:, None]
    slow = np.zeros(len(u))
    for t in range(1, len(u)):
        slow[t] = 0.9997 * slow[t - 1] + 0.0003 * u[t - 1, 0]
    y = np.tanh(2 * slow)[:, None] + 0.002 * rng.normal(size=(len(u), 1))
    settings = replace(SMALL, start=5, treatments=("decimation",), open_iterations=5)
    result = search.search_members([Experiment(u, y)], seed=0, settings=settings)
    assert max(member.treatment.stride for member in result.members) > 200


def test_a_net_that_cannot_be_run_costs_itself_and_not_the_work() -> None:
    u = np.random.default_rng(0).normal(size=(400, 1))
    experiments = [Experiment(u, 0.5 * u)]
    good = search.search_members(experiments, seed=0, settings=SMALL).members[0]
    broken = replace(good, weights=good.weights[:-1])
    members, notes = search._keep_bounded([good, broken], experiments, 3)
    assert members == [good]
    assert notes[0].startswith("Left out, since it could not be run: a net of delays (")


def test_gaps_in_y_are_passed_over() -> None:
    assert free_run_error(SMALL, gaps=True) < 0.05


def test_a_record_in_which_no_free_run_can_start_is_refused() -> None:
    u, y = tank(120, 0)
    y[::3] = np.nan
    with pytest.raises(
        InputError,
        match=r"at most 2 rows in a row; a free run starts from 3, with 6 more behind. Fill",
    ):
        identify(Experiment(u, y), settings=SMALL)


def test_a_long_gap_in_y_leaves_every_block_rows_to_be_judged_by() -> None:
    u, y = tank(400, 0)
    y[150:350] = np.nan  # the whole of the third of five blocks of equal length
    model = identify(Experiment(u, y), settings=replace(SMALL, folds=5))
    v, truth = tank(200, 1)
    assert np.sqrt(np.mean((model.parallel(v, truth[:3]).y - truth) ** 2)) < 0.05 * truth.std()


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    u, y = tank(120, 0)
    runs = [
        identify(Experiment(u, y), seed=s, settings=SMALL).parallel(u, y[:3]).y for s in (0, 0, 1)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()
    assert runs[0].tobytes() != runs[2].tobytes()


def test_the_simulation_uses_only_the_first_measured_rows() -> None:
    u, y = tank(120, 0)
    model = identify(Experiment(u, y), seed=0, settings=SMALL)
    run = model.parallel(u, y[:3]).y
    assert run[:3].tobytes() == y[:3].tobytes()
    with pytest.raises(InputError, match="measured rows of y: 2; wanted at least 3"):
        model.parallel(u, y[:2])


def test_memory_and_time_are_announced_before_the_work() -> None:
    u, y = tank(120, 0)
    said: list[str] = []
    identify(Experiment(u, y), seed=0, settings=SMALL, announce=said.append)
    assert said[0].startswith("System identification with 2 folds of 2 starts: about ")
    assert [text.split(";")[0] for text in said[1:]] == [
        "Fold 1 of 2",
        "Fold 2 of 2",
    ] and "left: delays" in said[1]


def test_the_announced_megabytes_hold_within_a_factor_of_one_and_a_half() -> None:
    u, y = tank(3000, 0)
    settings = replace(
        SMALL, states=((4, 6),), rounds=((2, 1),), refit_iterations=2, open_iterations=2
    )
    said: list[str] = []
    tracemalloc.start()
    try:
        identify(Experiment(u, y), settings=settings, announce=said.append)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    told = float(said[0].split("about ")[1].split(" MB")[0])
    assert told / 1.5 < peak < told * 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SYSTEMS, *SLOW])
def test_the_announced_seconds_and_megabytes_hold_within_a_factor_of_one_and_a_half(
    name: str,
) -> None:
    first = (simulated_record if name in SYSTEMS else slow_record)(name)[0]
    said: list[str] = []
    began = time.process_time()
    identify(first, announce=said.append)
    spent = time.process_time() - began
    found = re.search(r"about (\d+) MB and ([\d.]+) s", said[0])
    assert found is not None
    megabytes, seconds = map(float, found.groups())
    assert seconds / 1.5 < spent < seconds * 1.5
    tracemalloc.start()
    try:  # the peak is that of one iteration of the largest net
        identify(
            first, settings=SearchSettings(rounds=((1, 9),), refit_iterations=1, open_iterations=1)
        )
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert megabytes / 1.5 < peak < megabytes * 1.5


def test_several_experiments_train_one_model() -> None:
    experiments = [Experiment(*tank(150, seed)) for seed in (0, 1)]
    model = identify(*experiments, seed=0, settings=SMALL)
    u, y = tank(100, 2)
    assert np.sqrt(np.mean((model.parallel(u, y[:3]).y - y) ** 2)) < 0.1 * y.std()


def test_many_short_experiments_are_held_out_whole() -> None:
    """Too short to be cut: 15 rows each, of which a fold of two would leave no stretch to start
    from.
    """
    experiments = [Experiment(*(part[:15] for part in tank(40, seed))) for seed in range(12)]
    model = identify(*experiments, seed=0, settings=SMALL)
    u, y = tank(100, 20)
    assert np.sqrt(np.mean((model.parallel(u, y[:3]).y - y) ** 2)) < 0.2 * y.std()
    with pytest.raises(InputError, match="Experiment 0 has 15 rows"):
        identify(experiments[0], seed=0, settings=SMALL)


def test_long_experiments_are_offered_a_larger_net() -> None:
    def orders(rows: int) -> tuple[Order, ...]:
        u = np.zeros((rows, 1))
        return limit_work(SearchSettings(), [Experiment(u, u)]).orders

    assert [orders(rows) for rows in (249, 250, 1_000, 5_000)] == [BRIEF, SHORT, SHORT, LONG]
    assert (
        limit_work(SMALL, [Experiment(np.zeros((5_000, 1)), np.zeros((5_000, 1)))]).orders
        == SMALL.orders
    )


def test_orders_too_large_for_the_trainer_are_left_out_and_said_when_no_other_is_left() -> None:
    u, y = tank(120, 0)
    small, large = SMALL.orders[0], (2, 0, 3, 400)
    model = identify(Experiment(u, y), seed=0, settings=replace(SMALL, orders=(large, small)))
    assert {member.net.hidden for member in model.members} == {(4,)}
    with pytest.raises(
        InputError, match=r"at most 2000 weights; this one has \d+ and would take about"
    ):
        identify(Experiment(u, y), seed=0, settings=replace(SMALL, orders=(large,)))


def test_an_experiment_too_short_for_its_folds_is_refused() -> None:
    with pytest.raises(InputError, match=r"Experiment 0 has 20 rows; .* need 24"):
        identify(Experiment(np.zeros((20, 1)), np.zeros((20, 1))), seed=0, settings=SMALL)


def test_missing_inputs_are_refused() -> None:
    u, y = tank(120, 0)
    u[5] = np.nan
    with pytest.raises(InputError, match="u is missing in row 5, column 0"):
        identify(Experiment(u, y), seed=0, settings=SMALL)


def test_inputs_that_matter_longer_than_every_order_are_identified_with_longer_ones() -> None:
    u, y = remembering(600, 0)
    settings = replace(SMALL, orders=(), starts=1, rounds=((15, 1),), refit_iterations=10)
    model = identify(Experiment(u, y), seed=0, settings=settings)
    assert {member.net.input_delays for member in model.members} == {tuple(range(11))}
    v, truth = remembering(300, 1)
    run = model.parallel(v, truth[:3]).y
    assert np.std((run - truth)[20:]) < 0.2 * truth.std()


def test_nets_of_a_system_that_itself_runs_away_under_harder_inputs_are_kept() -> None:
    u = np.random.default_rng(0).uniform(0, 0.037, size=400)
    y = np.zeros(400)
    for t in range(399):
        # no equilibrium for an input held above 0.021
        y[t + 1] = 0.9 * y[t] + 0.12 * y[t] ** 2 + u[t]
    y += 0.005 * y.std() * np.random.default_rng(1).normal(size=400)
    settings = replace(
        SMALL, starts=4, rounds=((15, 4),), refit_iterations=10, coordinates=("level",)
    )
    model = identify(Experiment(u[:, None], y[:, None]), seed=0, settings=settings)
    assert len(model.members) == 4 and not [
        note for note in model.notes if "dropped" in note or "leaves" in note
    ]


@pytest.mark.parametrize("settings", [replace(SMALL, rounds=((8, 2),)), WITH_STATES])
def test_it_is_saved_exported_handed_on_and_forecasts_steps_ahead_as_every_model(
    settings, tmp_path
) -> None:
    u, y = tank(200, 0, dead=4)
    model = identify(Experiment(u, y), seed=0, settings=settings)
    assert any(net.states for net in model.net.nets) == bool(settings.states)
    whole = model.parallel(u, y[:3])
    model.save(tmp_path)
    again = Model.load(tmp_path)
    assert again.parallel(u, y[:3]).y.tobytes() == whole.y.tobytes() and again.notes == model.notes
    first = model.parallel(u[:90], y[:3])
    assert model.parallel(u[90:], first.state).y.tobytes() == whole.y[90:].tobytes()
    ahead = model.ahead(u, y, steps=4)
    state = model.series_parallel(u[:51], y[:51]).state
    np.testing.assert_allclose(ahead[50], model.parallel(u[51:55], state).y, rtol=1e-9)
    export(model, tmp_path / "simulator.py")
    code = (
        "import sys, simulator, numpy as np; d = np.load('d.npz'); r = simulator.simulate(d['u'],"
        " d['y'][:3])\n"
    )
    code += (
        "np.save('r.npy', r); assert not [m for m in sys.modules if m.split('.')[0] in ('forecast',"
        " 'scipy')]"
    )
    np.savez(tmp_path / "d.npz", u=u, y=y)
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), whole.y, rtol=1e-9)


def test_its_output_is_the_middle_of_its_nets_and_their_spread_is_told() -> None:
    u, y = tank(200, 0)
    # without noise the best net is much the best
    y += 0.04 * y.std() * np.random.default_rng(0).normal(size=y.shape)
    model = identify(Experiment(u, y), seed=0, settings=replace(SMALL, rounds=((8, 2),)))
    runs = np.array([member.parallel(u, y[:3]).y for member in model.members])
    assert len(runs) in (3, 4)
    np.testing.assert_allclose(model.parallel(u, y[:3]).y, np.median(runs, axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.spread(u, y[:3]), runs.std(axis=0), rtol=1e-9)
    assert (
        set(model.training.free_run) == {"train", "validation"}
        and f"Median of {len(runs)} nets" in model.notes[0]
    )


def test_three_of_seven_nets_lost_on_the_same_side_leave_the_output_within_the_others() -> None:
    runs = np.linspace(0.9, 1.1, 7)[:, None, None] * np.ones((7, 3, 1))
    for lost in (1e6, np.inf, np.nan):
        runs[4:] = lost
        assert 0.9 <= median_run(runs).min() <= median_run(runs).max() <= 1.0


def kept(*errors: tuple[str, float]) -> list[float]:
    net = Narx(1, 1, (1,), (0,), 0)
    members = [Member(net, np.zeros(3), 0.1, kind, error) for kind, error in errors]
    return sorted(member.train_rmse for member in search.choose_members(members, 1000))


def levels(*errors: float) -> list[float]:
    return kept(*(("level", error) for error in errors))


def test_nets_of_one_crowd_are_kept_and_those_behind_a_gap_are_not() -> None:
    assert levels(1.4, 1.0, 1.2, 1.7, 2.2) == [1.0, 1.2, 1.4, 1.7]
    # without a gap, but lost
    assert levels(1.0, 1.2, 1.4, 1.7, 2.1, 2.6) == [1.0, 1.2, 1.4, 1.7, 2.1]


def test_a_net_stands_alone_only_where_all_others_are_lost() -> None:
    """The best on the rows that trained it may have fitted their noise: a gap behind so few nets
    tells nothing.
    """
    assert levels(1.0, 1.3, 1.7, 2.2, 2.6) == [1.0, 1.3, 1.7, 2.2]
    assert levels(1.0, 1.1, 1.2, 1.6) == [1.0, 1.1, 1.2, 1.6]
    assert levels(1.0, 2.6, 2.7, 2.8) == [1.0]


def test_nets_that_know_no_level_are_taken_alone_where_half_of_the_good_ones_are_such() -> None:
    drives, level = "integrating states", "level"
    assert kept((level, 1.0), (drives, 1.09), (level, 1.2), (drives, 1.4)) == [1.09, 1.4]
    # one of many: no such system
    assert len(kept((level, 1.02), (drives, 1.0), (level, 1.05))) == 3
    assert len(kept((level, 1.0), (level, 1.2), (drives, 1.3))) == 3


def test_of_a_net_that_stands_alone_it_is_said_that_nothing_bears_it_out() -> None:
    u, y = tank(200, 0)  # without noise the best net is much the best
    noisy = y + 0.04 * y.std() * np.random.default_rng(0).normal(size=y.shape)
    models = [
        identify(Experiment(u, z), settings=replace(SMALL, rounds=((8, 2),))) for z in (y, noisy)
    ]
    assert [len(model.members) == 1 for model in models] == [True, False]
    for model in models:
        assert any("nothing bears this one out" in note for note in model.notes) == (
            len(model.members) == 1
        )


def test_an_interrupted_search_gives_the_nets_found_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    u, y = tank(200, 0)
    runs, whole = iter(range(1000)), lm.normal_equations

    def interrupted(problem, weights):
        if next(runs) == 45:
            raise KeyboardInterrupt
        return whole(problem, weights)

    monkeypatch.setattr(lm, "normal_equations", interrupted)
    model = identify(Experiment(u, y), settings=SMALL, watch=Watch())
    assert "interrupted" in " ".join(model.notes)
    assert np.isfinite(model.parallel(u, y[:3]).y).all()


@pytest.mark.parametrize(
    ("function", "call"), [("dead_times", 1), ("split_fold", 2), ("unseen_inputs", 1)]
)
def test_ctrl_c_between_two_trainings_keeps_the_nets_found_until_then(
    function, call, monkeypatch
) -> None:
    """Cutting the record, judging a net: the search is not always inside a training when the key is
    pressed.
    """
    calls, whole, heard = (
        iter(range(1, 1000)),
        getattr(search, function),
        signal.getsignal(signal.SIGINT),
    )

    def pressed(*arguments, **options):
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return whole(*arguments, **options)

    monkeypatch.setattr(search, function, pressed)
    u, y = tank(200, 0)
    watch = Watch()
    model = identify(Experiment(u, y), settings=SMALL, watch=watch)
    assert watch.interrupted and np.isfinite(model.parallel(u, y[:3]).y).all()
    assert signal.getsignal(signal.SIGINT) is heard


def test_a_second_ctrl_c_ends_an_interrupted_search() -> None:
    with pytest.raises(KeyboardInterrupt), lm.note_interrupt(Watch()):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_short_record_of_a_linear_system_gets_linear_nets_alone_and_of_every_order() -> None:
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=200), np.zeros(200)
    for t in range(2, 200):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + u[t - 1]
    model = identify(Experiment(u[:150], y[:150] + 0.02 * rng.normal(size=150)))
    run = model.parallel(u[150:], y[150:155]).y[:, 0]
    assert np.sqrt(np.mean((run - y[150:])[10:] ** 2)) < 0.05 * y.std()
    assert not any(member.net.hidden for member in model.members)
    # of each order the net of each fold
    assert Counter(member.net.states for member in model.members) == {1: 3, 2: 3}


def test_nets_stand_alone_on_a_short_record_that_no_linear_model_follows_as_well() -> None:
    """Linear models leave 14 times the noise here; with 15 % of coloured noise instead they are the
    better ones.
    """
    u = random_steps(300, -1.0, 1.5, hold=4, seed=3)
    y = SYSTEMS["Wiener-Hammerstein"][0](u)
    settings = SearchSettings(
        folds=4, starts=0, states=((3, 6),), integrating=(), rounds=((20, 2),)
    )
    noise = np.random.default_rng(0).normal(size=301)
    clear = identify(Experiment(u, y + 0.02 * y.std() * noise[1:]), settings=settings)
    assert all(member.net.hidden for member in clear.members)
    linear = lfilter([0.0, 0.5, 0.2], [1.0, -1.2, 0.45], u)
    blurred = identify(
        Experiment(u, linear + 0.1 * linear.std() * (noise[1:] + noise[:-1])), settings=settings
    )
    assert not any(member.net.hidden for member in blurred.members)


def test_linear_models_give_way_only_to_a_family_that_is_better_on_the_blocks_altogether() -> None:
    """Of three families one or another is ahead on every block, by chance; of one, on all."""
    blocks = {
        search.LINEAR: [0.0, 0.12, 0.37, 0.52, 0.07],
        "delays": [0.1, 0.0, 0.41, 0.0, 0.01],
        "integrating states": [0.35, 0.04, 0.0, 0.05, 0.0],
    }
    assert search.is_linear_enough(blocks)
    # a fifth better on each
    assert not search.is_linear_enough({**blocks, "states": [-0.2, -0.08, 0.17, 0.32, -0.13]})
    # far behind, if unevenly
    assert not search.is_linear_enough({**blocks, search.LINEAR: [0.1, 0.9, 0.0, 1.2, 0.3]})


@pytest.mark.parametrize(("share", "said"), [(0.0, False), (0.2, True)])
def test_a_free_run_that_an_input_nobody_measured_spoils_is_said_to_be_far_off(
    share: float, said: bool
) -> None:
    u, unseen = (
        random_steps(400, -1.0, 1.0, hold=6, seed=1),
        random_steps(400, -1.0, 1.0, hold=40, seed=2),
    )
    y = lfilter([0.0, 0.3], [1.0, -0.7], u + share * unseen) + 0.01 * np.random.default_rng(
        0
    ).normal(size=400)
    first, *others = identify(Experiment(u, y), settings=SMALL).notes
    assert (
        any(
            "times the one-step error: unless the noise of y is correlated" in note
            for note in others
        )
        == said
    )
    middle, percent = map(
        float, re.findall(r"([\d.]+) in the middle: ([\d.]+) % of the range of y", first)[0]
    )
    assert percent == pytest.approx(100 * middle / np.ptp(y), rel=0.05)


def test_experiments_that_do_not_fit_together_or_tell_nothing_are_named() -> None:
    u, y = tank(120, 0)
    with pytest.raises(InputError, match=r"have \(inputs, outputs\) \[\(1, 1\), \(2, 1\)\]"):
        identify(Experiment(u, y), Experiment(np.hstack([u, u]), y), settings=SMALL)
    with pytest.raises(InputError, match="Output 0 is constant: there is nothing to identify"):
        identify(Experiment(u, np.ones(len(u))), settings=SMALL)
    with pytest.raises(InputError, match=r"Got ndarray .* Give `Experiment\(u, y\)`"):
        identify(u, y)
    wide = np.hstack([u, np.full_like(u, 3.0)])
    notes = identify(Experiment(wide, y), settings=SMALL).notes
    assert "Input 1 is constant in the rows that train: nothing is learnt of it." in notes


def test_a_short_record_is_cut_into_fewer_blocks() -> None:
    def folds(*rows: int) -> int:
        return limit_folds(
            SearchSettings(), [Experiment(None, np.arange(float(n))) for n in rows]
        ).folds

    assert [folds(1000), folds(200), folds(50), folds(200, 1000)] == [5, 5, 2, 5]
    assert folds(*[30] * 5) == 5  # whole ones are held out


@pytest.mark.parametrize("folds", [1, 0, -1])
def test_a_search_without_a_block_held_out_is_refused(folds: int) -> None:
    for records in ([simulated(300)], [simulated(100), simulated(100, seed=1)]):
        with pytest.raises(InputError, match=f"folds is {folds}; wanted 2 at least"):
            identify(*records, settings=SearchSettings(folds=folds))
