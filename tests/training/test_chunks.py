"""Chunks: every row alike, no chunk across two series, no loss where nothing was observed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.system.errors import InputError
from forecast.training.chunks import TrainingSeries, join_series


def mark_series(number, rows, horizon=2, weight=1.0):
    """A series whose every value says where it comes from: 1000 * number + row."""
    at = 1000.0 * number + np.arange(rows + horizon)
    past, future = at[:rows, None].astype(np.float32), at[:, None].astype(np.float32)
    target = np.repeat(past[:, :, None], horizon, axis=1)
    return TrainingSeries(past, future, target, np.full_like(target, weight))


@given(
    rows=st.lists(st.integers(2, 30), min_size=1, max_size=4),
    supervised=st.integers(1, 12),
    burn_in=st.integers(0, 12),
    horizon=st.integers(1, 4),
)
def test_a_chunk_lies_inside_one_series_with_its_own_future_and_targets(
    rows, supervised, burn_in, horizon
):
    series = [mark_series(i, n, horizon) for i, n in enumerate(rows)]
    chunks = join_series(series, n_supervised=supervised, burn_in=burn_in)
    assert chunks.burn_in < chunks.length <= min(rows)
    for start in chunks.starts:
        past = chunks.past[start : start + chunks.length, 0]
        future = chunks.future[start : start + chunks.length + horizon, 0]
        number = int(past[0]) // 1000
        np.testing.assert_array_equal(past, past[0] + np.arange(chunks.length))
        np.testing.assert_array_equal(future, past[0] + np.arange(chunks.length + horizon))
        np.testing.assert_array_equal(
            chunks.target[start : start + chunks.length, :, 0], past[:, None] + [0] * horizon
        )
        assert past[-1] < 1000 * number + rows[number]


@given(rows=st.lists(st.integers(5, 30), min_size=1, max_size=3), supervised=st.integers(1, 5))
def test_every_row_of_every_series_is_supervised_by_some_chunk(rows, supervised):
    chunks = join_series(
        [mark_series(i, n) for i, n in enumerate(rows)], n_supervised=supervised, burn_in=0
    )
    reached = {float(chunks.past[s + k, 0]) for s in chunks.starts for k in range(chunks.length)}
    assert reached == {1000.0 * i + t for i, n in enumerate(rows) for t in range(n)}


def test_every_chunk_is_drawn_equally_often():
    chunks = join_series([mark_series(0, 20), mark_series(1, 13)], n_supervised=3, burn_in=2)
    drawn = chunks.random_starts(steps=3 * len(chunks.starts), batch_size=4, seed=0)
    assert drawn.shape == (3 * len(chunks.starts), 4) and drawn.dtype == np.int32
    starts, counts = np.unique(drawn, return_counts=True)
    assert starts.tolist() == sorted(chunks.starts)
    assert set(counts.tolist()) == {12}


def test_no_chunk_comes_twice_before_all_have_come_once():
    chunks = join_series([mark_series(0, 20)], n_supervised=3, burn_in=2)
    first = chunks.random_starts(steps=4, batch_size=4, seed=1).ravel()
    assert len(set(first.tolist())) == len(first) == len(chunks.starts)


def test_equal_seeds_draw_equally_and_others_do_not():
    chunks = join_series([mark_series(0, 40)], n_supervised=3, burn_in=2)
    a, b, c = (chunks.random_starts(steps=5, batch_size=4, seed=seed) for seed in (7, 7, 8))
    assert a.tolist() == b.tolist() != c.tolist()


def test_the_shortest_series_sets_the_length():
    chunks = join_series([mark_series(0, 40), mark_series(1, 6)], n_supervised=10, burn_in=8)
    assert (chunks.length, chunks.burn_in) == (6, 5)
    assert 1000.0 in chunks.past[chunks.starts, 0]


def test_chunks_whose_supervised_steps_have_no_target_are_left_out():
    series = mark_series(0, 12)
    series.sample_weight[4:9] = 0
    chunks = join_series([series], n_supervised=2, burn_in=1)
    assert chunks.starts.tolist() == [0, 1, 2, 7, 8, 9]


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_what_lies_where_the_weight_is_zero_is_not_kept(garbage):
    series = mark_series(0, 12)
    series.sample_weight[3:5] = 0
    series.target[3:5] = garbage
    chunks = join_series([series], n_supervised=4, burn_in=2)
    assert np.isfinite(chunks.target).all() and chunks.target.max() < 100


def test_one_row_cannot_be_trained_on():
    with pytest.raises(InputError, match="has 1 train rows; training needs at least 2"):
        join_series([mark_series(0, 9), mark_series(1, 1)], n_supervised=3, burn_in=2)


def test_without_any_target_there_is_nothing_to_learn():
    with pytest.raises(InputError, match="No chunk of the train block has an observed target"):
        join_series([mark_series(0, 12, weight=0.0)], n_supervised=3, burn_in=2)
