"""Time is cut first: no target of one block lies in another."""

from __future__ import annotations

import itertools
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data import splits
from forecast.data.panel import Series, from_frame
from forecast.data.splits import BLOCKS, Blocks, Borders
from forecast.system import files
from forecast.system.errors import InputError
from tests.support import example_data

DATES = {
    "train_end": "2024-01-02",
    "validation_end": "2024-01-03",
    "calibration_end": "2024-01-04",
    "test_end": "2024-01-05",
}


def panel(rows=100, series=("a",), **changes):
    return from_frame(
        example_data.hourly(rows, series), "example", example_data.dataset(**changes).task
    )


def resolved(rows=100, series=("a",), **changes):
    return splits.resolve_borders(
        panel(rows, series, **changes), example_data.dataset(**changes).splits
    )


def hours(rows, start="2024-01-01"):
    ds = pd.date_range(start, periods=rows, freq="h").as_unit("ns").to_numpy()
    return Series("a", ds, np.zeros((rows, 1)), np.zeros((rows, 0)))


def test_a_date_holds_to_the_end_of_its_day():
    borders = resolved(120, splits=DATES)
    assert splits.split_series(hours(120), borders) == Blocks(
        (0, 48), (48, 72), (72, 96), (96, 120)
    )


def test_rows_after_the_test_block_belong_to_none():
    borders = resolved(120, splits=DATES)
    assert splits.split_series(hours(200), borders).test == (96, 120)


def test_shares_are_counted_on_the_steps_of_all_series():
    borders = resolved(100, series=("a", "b"))
    assert splits.split_series(hours(100), borders) == Blocks(
        (0, 60), (60, 75), (75, 85), (85, 100)
    )


def unequal(*lengths):
    frames = [example_data.hourly(rows, (f"s{rows}",)) for rows in lengths]
    return from_frame(pd.concat(frames, ignore_index=True), "example", example_data.dataset().task)


def numbered(*lengths):
    frame = pd.concat([example_data.hourly(rows, (f"s{rows}",)) for rows in lengths])
    rows = frame.groupby("unique_id").cumcount()
    return frame.assign(ds=pd.Timestamp(0) + pd.to_timedelta(rows, "min"))


def test_series_that_end_early_are_cut_at_the_moments_of_all():
    panel_of_all = unequal(200, 120, 160)
    borders = splits.resolve_borders(panel_of_all, example_data.dataset().splits)
    assert borders == splits.resolve_borders(unequal(200), example_data.dataset().splits)
    short = splits.find_too_short(panel_of_all, borders)
    assert [(fault.series, fault.sentence.partition(" has ")[0]) for fault in short] == [
        ("s120", "its validation block"),
        ("s160", "its test block"),
    ]


def test_rows_that_each_series_numbers_by_itself_are_cut_from_their_ends(tmp_path):
    settings = example_data.dataset(calendar={"kind": "index"})
    frame = numbered(200, 120, 160)
    panel_of_all = from_frame(frame, "example", settings.task)
    borders = splits.resolve_borders(panel_of_all, settings.splits)
    for series in panel_of_all.series:
        train, validation, calibration = (len(series) - n for n in (80, 50, 30))
        stops = (0, train, validation, calibration, len(series))
        assert splits.split_series(series, borders) == Blocks(*pairwise(stops)), series.unique_id
    files.write_json(tmp_path / "borders.json", borders.to_json())
    assert Borders.from_json(files.read_json(tmp_path / "borders.json")) == borders
    assert splits.split_panel(panel_of_all, borders).keys() == panel_of_all.by_id.keys()
    is_longer = frame["unique_id"] == "s120"
    frame.loc[is_longer, "ds"] += pd.Timedelta(minutes=1)
    begun_apart = from_frame(frame, "example", settings.task)
    assert not splits.resolve_borders(begun_apart, settings.splits).by_series
    frame["ds"] += np.where(is_longer, 0, 1) * pd.Timedelta(minutes=1)
    assert splits.resolve_borders(
        from_frame(frame, "example", settings.task), settings.splits
    ).by_series
    frame["ds"] += pd.Timedelta(minutes=1990)
    years = from_frame(frame, "example", settings.task)
    assert not splits.resolve_borders(years, settings.splits).by_series


def test_series_too_short_for_the_cut_that_suits_most_are_named_and_the_others_go_on():
    settings = example_data.dataset()
    frames = [example_data.hourly(rows, (f"s{rows}",)) for rows in (200, 8, 4, 190)]
    borders, too_short = splits.borders_of(pd.concat(frames), "example", settings)
    assert borders.by_series == {}
    assert [(fault.series, fault.count, fault.action) for fault in too_short] == [
        ("s4", 4, "left out"),
        ("s8", 8, "not scored"),
    ]
    assert too_short[1].sentence == "its validation block has 0 of 8 steps, needs 2"
    with pytest.raises(InputError, match="series 's4'"):
        splits.borders_of(frames[2], "example", settings)
    summed = settings.model_copy(update={"hierarchy": ("region",)})
    with pytest.raises(InputError, match="series 's8'"):
        splits.borders_of(pd.concat(frames), "example", summed)


def test_series_of_which_none_can_calibrate_are_kept_without_intervals():
    borders, left_out = splits.borders_of(
        example_data.hourly(12, ("a", "b")), "example", example_data.dataset()
    )
    assert not left_out and borders.calibration_end < borders.test_end


@pytest.mark.parametrize(("n_rest", "held_out"), [(36, (12, 1)), (57, (12, 15)), (84, (21, 21))])
def test_a_short_series_keeps_half_a_season_of_windows_to_fit_on(n_rest, held_out):
    assert splits.held_out_steps(n_rest, horizon=12, season=12) == held_out


def late_panel(n_late):
    start = str(pd.Timestamp("2024-01-01") + pd.Timedelta(hours=200 - n_late))
    frames = [example_data.hourly(200, ("long",)), example_data.hourly(n_late, ("late",), start)]
    return from_frame(pd.concat(frames, ignore_index=True), "example", example_data.dataset().task)


def test_the_steps_since_a_late_series_began_are_cut_where_tests_gain_by_it():
    """The root of a quarter of the steps, times two series, is as much as one of all steps."""
    late_and_long, shares = late_panel(51), example_data.dataset().splits
    borders = splits.resolve_borders(late_and_long, shares)
    _, *ends = itertools.accumulate([149, 31, 7, 5, 8])
    hour, begin = pd.Timedelta(hours=1), pd.Timestamp("2024-01-01")
    assert list(borders.ends.values()) == [begin + (end - 1) * hour for end in ends]
    late = splits.split_series(late_and_long.by_id["late"], borders)
    assert late == Blocks((0, 31), (31, 38), (38, 43), (43, 51))
    of_all = splits.resolve_borders(late_panel(200), shares)
    assert splits.resolve_borders(late_panel(50), shares) == of_all


def test_a_young_series_moves_no_block_of_many():
    starts = {"a": 200, "b": 200, "c": 200, "young": 100}
    settings = example_data.dataset()
    frames = [
        example_data.hourly(
            n, (name,), str(pd.Timestamp("2024-01-01") + pd.Timedelta(hours=200 - n))
        )
        for name, n in starts.items()
    ]
    borders, not_scored = splits.borders_of(pd.concat(frames[:3]), "example", settings)
    frames[3] = frames[3].tail(60)
    with_young, (young,) = splits.borders_of(pd.concat(frames), "example", settings)
    assert with_young == borders and not not_scored
    assert (young.series, young.action) == ("young", "not scored")


def test_series_that_end_almost_together_share_their_moments():
    assert splits.resolve_borders(unequal(200, 198), example_data.dataset().splits).by_series == {}


def test_a_series_that_begins_later_is_cut_at_the_same_moments():
    borders = resolved(100)
    assert splits.split_series(hours(60, start="2024-01-02 16:00"), borders) == Blocks(
        (0, 20), (20, 35), (35, 45), (45, 60)
    )


def test_borders_survive_json():
    borders = resolved(100, splits=DATES)
    assert Borders.from_json(borders.to_json()) == borders
    assert borders.train_end.date() == date(2024, 1, 2)


def test_the_first_target_of_a_block_directly_follows_the_row_before_it():
    blocks = Blocks((0, 60), (60, 75), (75, 85), (85, 100))
    assert splits.origins(blocks, "validation", horizon=3, lookback=10).tolist() == list(
        range(59, 72)
    )
    assert splits.origins(blocks, "train", horizon=3, lookback=10).tolist() == list(range(9, 57))
    assert splits.origins(blocks, "test", horizon=3, lookback=10, step_size=5).tolist() == [
        84,
        89,
        94,
    ]


@st.composite
def cuts(draw):
    lengths = [draw(st.integers(0, 30)) for _ in BLOCKS]
    edges = np.cumsum([0, *lengths]).tolist()
    return Blocks(*pairwise(edges))


@given(cuts(), st.integers(1, 6), st.integers(1, 12), st.integers(1, 4))
def test_no_target_lies_outside_its_block_and_every_forecast_has_its_history(
    blocks, horizon, lookback, step_size
):
    claimed: set[int] = set()
    for block in BLOCKS:
        start, stop = blocks.range(block)
        rows = splits.origins(
            blocks, block, horizon=horizon, lookback=lookback, step_size=step_size
        )
        targets = {int(t) + h for t in rows for h in range(1, horizon + 1)}
        assert all(start <= t < stop for t in targets)
        assert not targets & claimed
        claimed |= targets
        assert all(t - lookback + 1 >= 0 for t in rows)


@given(cuts(), st.integers(1, 6), st.integers(1, 12))
def test_no_possible_origin_is_left_out(blocks, horizon, lookback):
    for block in BLOCKS:
        start, stop = blocks.range(block)
        possible = [t for t in range(start - 1, stop) if t >= lookback - 1 and t + horizon < stop]
        assert (
            splits.origins(blocks, block, horizon=horizon, lookback=lookback).tolist() == possible
        )


@pytest.mark.parametrize(
    ("rows", "block", "n_rows"),
    [(20, "calibration", 2), (10, "train", 6), (30, "test", 4)],
    ids=["c", "t", "e"],
)
def test_a_series_too_short_is_one_sentence_with_what_is_needed(rows, block, n_rows):
    short = panel(rows, horizon=5, lookback=4)
    with pytest.raises(InputError) as refused:
        splits.split_panel(short, resolved(rows, horizon=5, lookback=4), needed=(block,))
    need = 9 if block == "train" else 5
    message = str(refused.value)
    assert f"series 'a': its {block} block has {n_rows} of {rows} steps, needs {need}" in message
    assert "lookback=4 and horizon=5" in message
    assert "configs/datasets.yaml" in message


def test_only_the_blocks_asked_for_must_be_long_enough():
    short = panel(20, horizon=3, lookback=4)
    blocks = splits.split_panel(
        short, resolved(20, horizon=3, lookback=4), needed=("train", "validation")
    )
    assert blocks["a"].train == (0, 12)


@pytest.mark.parametrize(
    ("n_rest", "horizon", "season", "held_out"),
    [
        (23, 1, 12, (1, 4)),  # two years of months but the test step: 18 are left to fit on
        (19, 2, 4, (2, 5)),
        (10, 1, 4, (1, 4)),
        (9, 1, 4, (1, 1)),  # no season and horizon would be left
        (36, 12, 12, (12, 1)),
    ],
)
def test_few_steps_calibrate_an_interval_of_80_percent_while_a_season_is_left(
    n_rest, horizon, season, held_out
):
    assert splits.held_out_steps(n_rest, horizon, season) == held_out


def test_the_longest_horizon_leaves_every_block_its_cutoffs():
    assert [splits.longest_horizon(n, 12) for n in (24, 36, 48, 60, 72)] == [1, 3, 6, 9, 12]
    assert [splits.longest_horizon(n, 4) for n in (8, 20)] == [1, 2]
    for n_steps in range(24, 100):
        horizon = splits.longest_horizon(n_steps, 12)
        n_rest = n_steps - splits.most_test_steps(n_steps, horizon, 12)
        validation, calibration = splits.held_out_steps(n_rest, horizon, 12)
        assert validation >= horizon and calibration >= horizon + 3
        assert n_rest - validation - calibration >= 12 + horizon
