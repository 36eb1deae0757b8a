"""Windows: exactly `lookback` rows, the first target directly after them, and nothing read under
the mask.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecast.data.windows import (
    Windows,
    clear_first_row,
    fill_gaps,
    gather_windows,
    input_channels,
    layout,
    target_windows,
    task_windows,
)
from tests.support import problems

NAN = np.nan
MAYBE = st.one_of(st.floats(-1e3, 1e3), st.just(np.nan))


def channels(**column):
    """The layout of one target and nothing else."""
    return layout(
        problems.task(target={"column": "y", **column}, past_exogenous=[], calendar_features=[])
    )


def single_series(values):
    """(1, L, 1)"""
    return np.array(values, dtype=float)[None, :, None]


def test_the_first_target_directly_follows_the_last_past_row():
    z = np.arange(8.0)[:, None]
    rows = np.array([2, 3, 4])
    windows = gather_windows(z, np.zeros((11, 0)), rows, channels(), lookback=3, horizon=2)
    assert windows.past[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert target_windows(z, rows, horizon=2, outputs=1)[:, :, 0].tolist() == [
        [3, 4],
        [4, 5],
        [5, 6],
    ]
    assert windows.last[:, 0].tolist() == [2, 3, 4]


def test_row_s_of_the_future_belongs_to_row_s_of_the_past():
    future = 10.0 * np.arange(11)[:, None]
    windows = gather_windows(
        np.arange(8.0)[:, None], future, np.array([2, 7]), channels(), lookback=3, horizon=2
    )
    assert windows.future[:, :, 0].tolist() == [[0, 10, 20, 30, 40], [50, 60, 70, 80, 90]]
    assert (windows.past[:, :, 0] * 10 == windows.future[:, :3, 0]).all()


@given(
    rows=st.lists(st.integers(4, 19), min_size=1, unique=True),
    lookback=st.integers(1, 5),
    horizon=st.integers(1, 4),
)
def test_every_window_is_the_slice_that_ends_at_its_row(rows, lookback, horizon):
    z, future = np.arange(24.0)[:, None], np.arange(28.0)[:, None]
    at = np.array(rows)
    windows = gather_windows(z, future, at, channels(), lookback=lookback, horizon=horizon)
    ahead = target_windows(z, at, horizon=horizon, outputs=1)
    for i, t in enumerate(rows):
        np.testing.assert_array_equal(windows.z[i], z[t - lookback + 1 : t + 1])
        np.testing.assert_array_equal(windows.future[i], future[t - lookback + 1 : t + horizon + 1])
        np.testing.assert_array_equal(ahead[i], z[t + 1 : t + horizon + 1])


def test_slices_of_a_batch_leave_nothing_out_and_repeat_nothing():
    z, future = np.arange(30.0)[:, None], np.zeros((32, 0))
    rows = np.arange(2, 28)
    task = problems.task(
        target={"column": "y"}, past_exogenous=[], calendar_features=[], lookback=3
    )
    parts = list(task_windows(task, z, future, rows, horizon=2, size=7))
    assert [len(p) for p in parts] == [7, 7, 7, 5]
    assert np.concatenate([p.rows for p in parts]).tolist() == rows.tolist()
    assert np.concatenate([p.past for p in parts])[:, -1, 0].tolist() == rows.tolist()


def test_a_missing_step_repeats_the_last_value_with_a_mask_and_the_time_since():
    past = input_channels(single_series([NAN, 5, NAN, NAN, 7]), channels(max_missing=0.5))[0]
    assert past[:, 0].tolist() == [0, 5, 5, 5, 7]
    assert past[:, 1].tolist() == [0, 1, 0, 0, 1]
    np.testing.assert_allclose(np.expm1(past[:, 2]), [1, 0, 1, 2, 0], atol=1e-6)


def test_a_drifting_level_enters_as_its_changes():
    past = input_channels(
        single_series([5, 7, NAN, 8]), channels(difference_inputs=True, max_missing=0.5)
    )[0]
    assert past[:, 0].tolist() == [0, 2, 0, 1]
    assert past[:, 1].tolist() == [1, 1, 0, 1]


def test_a_window_that_begins_in_a_gap_has_no_jump_where_the_gap_ends():
    """Before the first observation a level is unknown: a change from zero to wherever it has
    drifted is none.
    """
    past = input_channels(
        single_series([NAN, NAN, 500, 501]), channels(difference_inputs=True, max_missing=0.5)
    )[0]
    assert past[:, 0].tolist() == [0, 0, 0, 1]


def test_a_difference_over_the_windows_edge_is_not_seen():
    """A window of the differenced series would otherwise hold what happened before its first
    row.
    """
    settings = channels(transform="diff", max_missing=0.5)
    z = np.array([[9.0], [1.0], [2.0], [3.0]])
    windows = gather_windows(z, np.zeros((5, 0)), np.array([3]), settings, lookback=3, horizon=1)
    assert windows.past[0, :, 0].tolist() == [0, 2, 3]
    assert windows.past[0, :, 1].tolist() == [0, 1, 1]
    forgotten = input_channels(single_series([1, 2, 3]), settings)
    clear_first_row(forgotten, settings)
    np.testing.assert_array_equal(forgotten, windows.past)
    assert z[1, 0] == 1.0


def test_columns_that_are_never_missing_have_no_mask():
    shops = layout(problems.task())
    assert shops.value == (0, 3, 4, 7)
    assert shops.mask == (1, -1, 5, -1)
    assert shops.since == (2, -1, 6, -1)
    assert shops.n_channels == 8
    assert shops.target_channels == (0, 3)
    assert shops.change_channels == (3, 4)


def test_an_infinite_value_counts_as_missing():
    settings = channels(max_missing=0.5)
    np.testing.assert_array_equal(
        input_channels(single_series([1, np.inf, 3]), settings),
        input_channels(single_series([1, NAN, 3]), settings),
    )


@given(arrays(np.float64, (1, 12, 2), elements=MAYBE))
def test_inputs_at_a_row_depend_on_the_rows_up_to_it(z):
    settings = layout(
        problems.task(
            target=[
                {"column": "a", "max_missing": 0.5},
                {"column": "b", "difference_inputs": True, "max_missing": 0.5},
            ],
            past_exogenous=[],
        )
    )
    whole = input_channels(z, settings)
    assert np.isfinite(whole).all()
    for t in (0, 5, 11):
        np.testing.assert_array_equal(input_channels(z[:, : t + 1], settings), whole[:, : t + 1])


@given(arrays(np.float64, (2, 9, 2), elements=MAYBE))
def test_filling_keeps_what_was_observed_and_counts_the_steps_since(z):
    values, observed, since = fill_gaps(z)
    np.testing.assert_array_equal(values[observed], z[observed])
    assert (since[observed] == 0).all() and (since[~observed] >= 1).all()
    for b, t, c in np.argwhere(~observed):
        back = t - int(since[b, t, c])
        assert values[b, t, c] == (z[b, back, c] if back >= 0 else 0.0)


def test_windows_of_scattered_rows_are_those_of_each_row_alone():
    settings = layout(problems.task())
    rng = np.random.default_rng(5)
    z = rng.standard_normal((40, 4))
    z[rng.random(z.shape) < 0.2] = np.nan
    future = np.asfortranarray(rng.standard_normal((43, 2)))

    def windows(rows):
        return gather_windows(z, future, np.array(rows), settings, lookback=10, horizon=3)

    together = windows([30, 9, 39, 12])
    alone = Windows.concatenate([windows([row]) for row in (30, 9, 39, 12)])
    for name, part in vars(together).items():
        assert np.array_equal(part, vars(alone)[name], equal_nan=part.dtype.kind == "f"), name
    assert np.array_equal(together.z[2], z[30:40], equal_nan=True)
    assert np.array_equal(together.future[1], future[0:13].astype(np.float32))
    assert len(windows(np.arange(0))) == 0
