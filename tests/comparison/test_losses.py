import numpy as np
import pandas as pd
import pytest

from forecast.comparison.losses import (
    NO_ACTUALS,
    find_preferences,
    losses_by_origin,
    select_models,
)
from forecast.comparison.sentences import describe_preferences
from forecast.data.comparison_records import Preference
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


def test_series_are_averaged_before_dates_are_counted():
    means, left_out = losses_by_origin(
        pd.concat([losses([2, 3], uid="a"), losses([10, 15], uid="b")])
    )
    assert means["m", "shipped"].tolist() == [6.0, 9.0] and left_out == {}


def test_a_model_with_a_nan_or_with_missing_origins_is_left_out_whole_with_the_reason():
    table = pd.concat([losses([1, 2, 3]), losses([1, np.nan, 3], "broken"), losses([1, 2], "late")])
    means, left_out = losses_by_origin(table)
    assert list(means) == [("m", "shipped")]
    assert left_out == {
        ("broken", "shipped"): "1 of its losses are not finite",
        ("late", "shipped"): "1 of the 3 origins are missing",
    }


def test_an_origin_whose_whole_horizon_is_missing_is_left_out_for_all_and_counted():
    table = pd.concat(
        [losses([1, np.nan, 3], "a"), losses([2, np.nan, 4], "b"), losses([5, np.nan, np.nan], "c")]
    )
    means, left_out = losses_by_origin(table)
    assert means["a", "shipped"].tolist() == [1, 3] and means["b", "shipped"].tolist() == [2, 4]
    assert left_out == {
        NO_ACTUALS: "1 of the 3 origins have no actual in their whole horizon",
        ("c", "shipped"): "1 of its losses are not finite",
    }
    assert select_models(table) == {"shipped": "a"}


def test_a_series_without_scale_is_left_out_of_all_and_said():
    table = pd.concat([losses([1, 2]), losses([np.nan, np.nan], uid="flat")])
    means, left_out = losses_by_origin(table)
    assert means["m", "shipped"].tolist() == [1.0, 2.0]
    assert left_out == {
        ("flat", "series"): "its train part is constant or one season, which has no scale"
    }
    means, left_out = losses_by_origin(losses([np.nan, np.nan]))
    assert means.empty and ("a", "series") in left_out
    assert select_models(losses([np.nan, np.nan])) == {}


@pytest.mark.parametrize("fault", ["column", "empty", "twice"])
def test_a_wrong_loss_table_is_refused(fault):
    table = losses([1, 2])
    broken = {
        "column": table.drop(columns="skip"),
        "empty": table[:0],
        "twice": pd.concat([table, table]),
    }[fault]
    with pytest.raises(
        InputError, match={"column": "lacks", "empty": "no row", "twice": "two rows"}[fault]
    ):
        losses_by_origin(broken)


def test_the_choice_is_the_lowest_mean_and_baselines_stand_in_both_rankings():
    table = pd.concat(
        [
            losses([3, 3], "naive", "baseline"),
            losses([1, 2], "lstm", "shipped"),
            losses([4, 4], "lstm", "architecture"),
        ]
    )
    assert select_models(table) == {"shipped": "lstm", "architecture": "naive"}


@pytest.mark.parametrize(
    ("origins", "gain", "taken"), [(20, 0.01, "ridge"), (20, 1.0, None), (40, 0.01, None)]
)
def test_with_few_validation_origins_the_simpler_row_stands_unless_clearly_beaten(
    origins, gain, taken
):
    noise = np.random.default_rng(3).normal(0, 0.3, (2, origins))
    table = pd.concat(
        [
            losses(5 + noise[0] - noise[0].mean(), "ridge", "baseline"),
            losses(5 + noise[1] - noise[1].mean() - gain, "lstm"),
        ]
    )
    assert select_models(table) == {"shipped": "lstm"}
    spacing = {"horizon": 1, "step_size": 1}
    found = find_preferences(table, {"shipped": "lstm"}, **spacing)
    assert (found["shipped"].model if found else None) == taken
    assert find_preferences(table, {"shipped": "ridge"}, **spacing) == {}
    beside = pd.concat([table, losses(5 + noise.mean(axis=0) - noise.mean() - gain + 1e-6, "mix")])
    found = find_preferences(beside, {"shipped": "lstm"}, ["mix"], **spacing)
    assert found["shipped"].model == (taken or "mix")


@pytest.mark.parametrize(("extra", "taken"), [(0.01, "mix"), (1.0, None)])
def test_a_combination_stands_instead_of_a_single_row_that_cannot_be_told_from_it(extra, taken):
    noise = np.random.default_rng(3).normal(0, 0.3, (4, 100))
    own = noise - noise.mean(axis=1, keepdims=True)
    table = pd.concat(
        [
            losses(5 + own[0], "lstm"),
            losses(5 + extra + own[1], "mix"),
            losses(5 + 2 * extra + own[2], "other_mix"),
            losses(5 + own[0], "line", "baseline"),
            losses(5 + own[1], "lstm", "architecture"),
        ]
    )
    spacing = {"horizon": 1, "step_size": 1}
    chosen = {"shipped": "lstm", "architecture": "lstm"}
    found = find_preferences(table, chosen, ["mix", "other_mix"], **spacing)
    if taken is None:
        assert found == {}
    else:
        preference = found["shipped"]
        assert list(found) == ["shipped"] and preference.model == taken
        assert preference.instead_of == "lstm" and preference.because == "several models"
        assert preference.origins == 100 and preference.extra_loss == pytest.approx(extra / 5)
        assert (
            "mix is taken instead of lstm: on the 100 validation origins"
            in describe_preferences(found)[0]
        )
    baseline = find_preferences(
        table, {"shipped": "line", "architecture": "line"}, ["mix", "other_mix"], **spacing
    )
    assert baseline == {
        ranking: preference.model_copy(update={"instead_of": "line"})
        for ranking, preference in found.items()
    }
    assert find_preferences(table, {"shipped": "other_mix"}, ["mix", "other_mix"], **spacing) == {}


@pytest.mark.parametrize(("extra", "taken"), [(2.5, "learnt"), (3.5, None)])
@pytest.mark.parametrize("lowest", ["mix", "lstm"])
def test_learnt_weights_stand_instead_of_any_row_up_to_three_standard_errors(lowest, extra, taken):
    noise = np.random.default_rng(3).normal(0, 0.3, 400)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 0.3
    table = pd.concat(
        [
            losses(np.full(400, 5.0), lowest),
            losses(5 + extra * 0.3 / 20 + noise, "learnt"),
            losses(np.full(400, 5.9), "other_mix"),
        ]
    )
    spacing = {"horizon": 1, "step_size": 1}
    found = find_preferences(
        table, {"shipped": lowest}, ["mix", "learnt", "other_mix"], ["learnt"], **spacing
    )
    assert (found["shipped"].model if found else None) == taken
    if taken:
        assert (
            "is within three standard errors, and a combination with learnt weights"
            in describe_preferences(found)[0]
        )
    assert (
        find_preferences(
            table, {"shipped": "learnt"}, ["mix", "learnt", "other_mix"], ["learnt"], **spacing
        )
        == {}
    )


def test_few_origins_are_given_as_the_reason():
    preference = Preference(
        model="ridge", instead_of="lstm", because="few origins", origins=9, extra_loss=0.01
    )
    sentence = describe_preferences({"shipped": preference})[0]
    assert "with so few the simpler row is preferred" in sentence


def test_without_networks_on_the_last_value_there_is_one_ranking():
    assert select_models(
        pd.concat([losses([3, 3], "naive", "baseline"), losses([1, 2], "lstm")])
    ) == {"shipped": "lstm"}


def test_a_tie_goes_to_the_name_that_sorts_first():
    assert select_models(pd.concat([losses([1, 1], "b"), losses([1, 1], "a")]))["shipped"] == "a"
