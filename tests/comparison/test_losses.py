import numpy as np
import pandas as pd
import pytest

from forecast.comparison.losses import (
    LeftOut,
    losses_by_cutoff,
    mean_steps_between,
    select_bars,
    select_models,
)
from forecast.comparison.sentences import describe_left_out, describe_selection
from forecast.config.task import RegularCalendar
from forecast.system.errors import InputError


def losses(values, model="m", ranking="shipped", uid="a") -> pd.DataFrame:
    cutoffs = pd.date_range("2024-01-01", periods=len(values))
    return pd.DataFrame(
        {
            "model": model,
            "ranking": ranking,
            "skip": "last",
            "unique_id": uid,
            "cutoff": cutoffs,
            "loss": np.asarray(values, dtype=float),
        }
    )


def selected(table, learnt=()):
    means, _ = losses_by_cutoff(table)
    return select_models(means, learnt)


def test_series_are_averaged_before_dates_are_counted():
    means, left_out = losses_by_cutoff(
        pd.concat([losses([2, 3], uid="a"), losses([10, 15], uid="b")])
    )
    assert means["m", "shipped"].tolist() == [6.0, 9.0] and left_out == LeftOut()


def test_a_cutoff_of_few_series_counts_less_so_that_the_mean_is_that_of_all_origins():
    # series b has ended before the second cutoff
    table = pd.concat([losses([2, 4], uid="a"), losses([10], uid="b")])
    means, left_out = losses_by_cutoff(table)
    assert left_out == LeftOut()
    assert means["m", "shipped"].mean() == pytest.approx((2 + 4 + 10) / 3)
    assert means["m", "shipped"].tolist() == pytest.approx([6 * 2 / 1.5, 4 * 1 / 1.5])


def test_a_model_with_a_nan_or_with_missing_origins_is_left_out_whole_with_the_reason():
    table = pd.concat([losses([1, 2, 3]), losses([1, np.nan, 3], "broken"), losses([1, 2], "late")])
    means, left_out = losses_by_cutoff(table)
    assert list(means) == [("m", "shipped")]
    reasons = {
        ("broken", "shipped"): "1 of its losses are not finite",
        ("late", "shipped"): "1 of the 3 origins are missing",
    }
    assert left_out == LeftOut(reasons)


def test_an_origin_whose_whole_horizon_is_missing_is_left_out_for_all_and_counted():
    table = pd.concat(
        [losses([1, np.nan, 3], "a"), losses([2, np.nan, 4], "b"), losses([5, np.nan, np.nan], "c")]
    )
    means, left_out = losses_by_cutoff(table)
    assert means["a", "shipped"].tolist() == [1, 3] and means["b", "shipped"].tolist() == [2, 4]
    assert left_out == LeftOut(
        {("c", "shipped"): "1 of its losses are not finite"},
        origins="1 of the 3 origins have no actual in their whole horizon",
    )
    assert selected(table) == {"shipped": "a"}


def test_a_series_without_scale_or_actuals_is_left_out_of_all_and_both_reasons_are_said():
    table = pd.concat([losses([1, 2]), losses([np.nan, np.nan], uid="flat")])
    means, left_out = losses_by_cutoff(table)
    assert means["m", "shipped"].tolist() == [1.0, 2.0]
    assert left_out == LeftOut(series=("flat",))
    assert describe_left_out(left_out) == [
        "flat (series) was not compared: its train part has no scale (constant, or one season), or"
        " its origins no actual."
    ]
    means, left_out = losses_by_cutoff(losses([np.nan, np.nan]))
    assert means.empty and left_out == LeftOut(series=("a",))
    assert selected(losses([np.nan, np.nan])) == {}


def test_an_empty_loss_table_is_refused():
    with pytest.raises(InputError, match="No model has a scored forecast"):
        losses_by_cutoff(losses([1, 2])[:0])


def test_the_choice_is_the_lowest_mean_and_baselines_stand_in_both_rankings():
    table = pd.concat(
        [
            losses([3, 3], "naive", "baseline"),
            losses([1, 2], "lstm", "shipped"),
            losses([4, 4], "lstm", "architecture"),
        ]
    )
    assert selected(table) == {"shipped": "lstm", "architecture": "naive"}


def test_learnt_weights_are_selected_wherever_they_stand_and_else_the_lowest():
    table = pd.concat(
        [
            losses([1, 2], "lstm"),
            losses([1, 1], "mix"),
            losses([4, 4], "learnt"),
            losses([5, 5], "learnt_too"),
            losses([3, 3], "naive", "baseline"),
            losses([2, 2], "lstm", "architecture"),
        ]
    )
    lowest = selected(table)
    chosen = selected(table, ["learnt_too", "learnt"])
    assert lowest == {"shipped": "mix", "architecture": "lstm"}
    assert chosen == {"shipped": "learnt", "architecture": "lstm"}
    assert describe_selection(chosen, lowest) == [
        "As shipped: learnt is selected because its weights are learnt; mix has the lowest"
        " loss on validation."
    ]


def test_without_networks_on_the_last_value_there_is_one_ranking():
    assert selected(pd.concat([losses([3, 3], "naive", "baseline"), losses([1, 2], "lstm")])) == {
        "shipped": "lstm"
    }


def test_a_network_that_equals_its_linear_part_is_not_selected_in_its_place():
    """A network that did not train repeats `ridge`, to rounding, and sorts before it."""
    network = losses([1 + 1e-15, 2], "gru")
    combination = losses([1, 2], "mix")
    ridge = losses([1, 2], "ridge", "baseline")
    naive = losses([3, 3], "naive", "baseline")
    assert selected(pd.concat([network, combination, ridge, naive])) == {"shipped": "ridge"}


def test_a_tie_goes_to_the_name_that_sorts_first():
    assert selected(pd.concat([losses([1, 1], "b"), losses([1, 1], "a")]))["shipped"] == "a"


def test_a_tie_with_a_simple_forecast_goes_to_it_and_of_simple_ones_to_the_bar():
    median = losses([1, 1], "historical_median", "baseline")
    tied = [losses([1, 1 - 1e-15], "boosting"), median, losses([1, 1], "naive", "baseline")]
    assert selected(pd.concat(tied[:2]))["shipped"] == "historical_median"
    table = pd.concat(tied)
    assert selected(table)["shipped"] == select_bars(losses_by_cutoff(table)[0])[0] == "naive"
    assert selected(pd.concat([*tied, losses([1, 0.99], "lstm")]))["shipped"] == "lstm"


def test_cutoffs_between_those_of_other_series_lie_nearer_than_a_step_size():
    hours = RegularCalendar(kind="regular", freq="1h")
    first = pd.date_range("2024-01-01", periods=100, freq="6h")
    assert mean_steps_between(first.repeat(3), hours, 6) == 6
    both = first.append(first + pd.Timedelta("2h"))
    assert mean_steps_between(both, hours, 6) == pytest.approx(3, abs=0.02)
    years_apart = first.append(first + pd.Timedelta("9000h"))
    assert mean_steps_between(years_apart, hours, 6) == 6
    assert mean_steps_between(first[:1], hours, 6) == 6
