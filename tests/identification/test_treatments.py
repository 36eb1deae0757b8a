"""Treatments of a record that is sampled too fast: what a net sees by them, and the same net on the
record itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.simulated_systems import SYSTEMS, oversampled, simulated
from forecast.identification import Experiment, SearchSettings, identify, random_steps
from forecast.identification import tank as level
from forecast.identification.narx import Narx
from forecast.identification.treatments import (
    OVERSAMPLED,
    Treatment,
    oversampling,
    select_treatments,
)
from forecast.system.errors import InputError


def mass(rows: int, seed: int) -> Experiment:
    """On a hardening spring, some 200 rows a period, with 1 % of noise."""
    u = random_steps(rows, hold=60, seed=seed)
    y = oversampled(u - u.mean())
    return Experiment(
        u - u.mean(), y + 0.01 * y.std() * np.random.default_rng(seed).normal(size=rows)
    )


@pytest.mark.parametrize("states", [0, 1])
def test_a_decimated_net_runs_on_the_record_as_its_interleaved_records_run_alone(
    states: int,
) -> None:
    delays = ((1,), (0, 1)) if states else ((1, 2), (1, 2, 3))
    net = Narx(
        2, 1 + states, *delays, 3, True, (-3.0,) * (1 + states), (3.0,) * (1 + states), (), states
    )
    weights = 0.3 * np.random.default_rng(0).normal(size=net.n_weights)
    u, y = (
        np.random.default_rng(1).normal(size=(61, 2)),
        np.random.default_rng(2).normal(size=(61, 1)),
    )
    u[:16] = u[0]  # what stands in before the first row
    decimation = Treatment("", stride=4)
    plain, whole = decimation.at_record_rate(net, weights)
    run = plain.free_run(whole, u, y[:8])
    for phase, part in enumerate(decimation.decimate([Experiment(u, y)])):
        np.testing.assert_allclose(
            run[phase::4], net.free_run(weights, part.u, part.y[:2]), rtol=1e-9
        )


def test_without_a_treatment_net_and_record_stay_as_they_are() -> None:
    record, net = level(50), Narx(1, 1, (1, 2), (0, 1), 3)
    weights = np.random.default_rng(0).normal(size=net.n_weights)
    (same,) = Treatment().decimate([record])
    assert same.u.tobytes() == record.u.tobytes() and same.y.tobytes() == record.y.tobytes()
    plain, kept = Treatment().at_record_rate(net, weights)
    assert plain == net and kept.tobytes() == weights.tobytes()


def test_a_linear_relation_outlasts_the_prefilter() -> None:
    u, y = np.random.default_rng(0).normal(size=(80, 1)), np.zeros((80, 1))
    for t in range(1, 80):
        y[t] = 0.7 * y[t - 1] + u[t - 1]
    y[40] = np.nan
    (smooth,) = Treatment("", smooth=5).prefilter([Experiment(u, y)])
    left = smooth.y[6:] - (0.7 * smooth.y[5:-1] + smooth.u[5:-1])
    assert np.nanmax(np.abs(left)) < 1e-12 and np.isfinite(left).sum() == 68
    assert np.isnan(smooth.y[40:45]).all() and np.isfinite(smooth.y[45:]).all()


def test_only_a_record_whose_output_stays_far_below_half_a_cycle_a_row_is_treated() -> None:
    for name in SYSTEMS:
        assert oversampling(simulated(name)[0]) < OVERSAMPLED / 4
    assert oversampling(level(400, noise=0.05)) < OVERSAMPLED
    assert len(select_treatments(None, [level(400)])) == 1
    fast = mass(800, 1)
    assert OVERSAMPLED < oversampling(fast) < 200
    gap = np.where(np.arange(800)[:, None] % 50 == 7, np.nan, fast.y)
    assert [t.name.split()[0] for t in select_treatments(None, [fast.with_arrays(y=gap)])[1:]] == [
        "decimated",
        "prefiltered",
    ]
    assert len(select_treatments((), [fast])) == 1
    assert len(select_treatments(("prefilter",), [level(400)])) == 2
    with pytest.raises(
        InputError,
        match=r"no treatment \['filter'\] .* wanted some of \['decimation', 'prefilter'\]",
    ):
        select_treatments(("filter",), [fast])


def test_a_mass_sampled_fast_is_followed_better_on_fewer_rows_and_the_notes_say_so() -> None:
    settings = SearchSettings(
        folds=3, orders=((3, 0, 3, 6),), states=(), integrating=(), rounds=((15, 2), (30, 1))
    )
    first, last = mass(800, 2), mass(800, 102)
    errors = []
    for treatments in (None, ()):
        model = identify(first, settings=replace(settings, treatments=treatments))
        run = model.parallel(last.u, last.y[: model.start]).y
        errors.append(np.sqrt(np.mean((run - last.y)[40:] ** 2)) / last.y.std())
        notes = " ".join(model.notes)
        assert ("in times of the best: as it is" in notes and "Taken: decimated by" in notes) == (
            treatments is None
        )
    assert errors[0] < 0.5 * errors[1]
