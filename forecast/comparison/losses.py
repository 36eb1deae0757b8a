"""Losses of the origins, comparable between models, and which model they select.

For `comparing` and `verdicts`. `losses_by_origin` makes of long losses one row per cutoff and one
column per candidate: who lacks an origin, or has a loss that is not finite, is left out whole, with
the reason. `select_models` takes the lowest on validation, `find_preferences` a simpler row that
validation cannot tell from it. Nothing is tested here (`paired_tests`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Unpack

import numpy as np
import pandas as pd

from forecast.comparison.longrun import Spacing, dependence, mean_error
from forecast.comparison.paired_tests import ORIGINS, non_overlapping
from forecast.data.comparison_records import Preference, PreferenceReason
from forecast.system.errors import InputError

Key = tuple[str, str]  # model, ranking
KEY = ["model", "ranking"]
NO_ACTUALS: Key = ("", "origins")
FEW: PreferenceReason = "few origins"
LEARNT: PreferenceReason = "learnt weights"
SEVERAL: PreferenceReason = "several models"
ERRORS: dict[PreferenceReason, int] = {FEW: 1, LEARNT: 3, SEVERAL: 2}
"""How many standard errors more it may cost.

They are of the days of one season; the season itself is one more doubt, which combinations depend
on less: docs/research/weights-by-absolute-error.md has what each number scored later.
"""
LOSS_COLUMNS = ["model", "ranking", "skip", "unique_id", "cutoff", "loss"]


def candidate_keys(means: pd.DataFrame) -> list[Key]:
    """The columns of `losses_by_origin` as (model, ranking)."""
    return [(str(key[0]), str(key[1])) for key in means.columns.to_list()]


def keys_in_ranking(means: pd.DataFrame, ranking: str) -> list[Key]:
    """The columns that stand in `ranking`: its own rows and the baselines."""
    return [key for key in candidate_keys(means) if key[1] in (ranking, "baseline")]


def losses_by_origin(losses: pd.DataFrame) -> tuple[pd.DataFrame, dict[Key, str]]:
    """One row per cutoff, one column per (model, ranking); and who was left out, with the reason.

    `losses` long (LOSS_COLUMNS). The series of a cutoff are averaged: origins of the same date are
    one cluster, not independent evidence. A model with a loss that is not finite, or without some
    of the origins the others have, is left out whole. A series no model has a loss for (its train
    part is constant, so it has no scale) is left out of all, listed as (series, "series"); so are
    origins whose horizon has no actual at all, counted under `NO_ACTUALS`.
    """
    _checked(losses)
    losses, without_scale = _scored_series(losses)
    losses, without_actuals = _scored_origins(losses)
    without_scale |= without_actuals
    if losses.empty:
        return pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=KEY)), without_scale
    wide = losses.set_index(["unique_id", "cutoff", *KEY])["loss"].unstack(KEY).sort_index()
    left_out = _incomplete(wide, losses)
    return wide.drop(columns=list(left_out)).groupby(level="cutoff").mean().sort_index(), {
        **left_out,
        **without_scale,
    }


def select_models(validation: pd.DataFrame) -> dict[str, str]:
    """The model with the lowest mean validation loss of each ranking; baselines stand in both.

    Without a network of its own, `architecture` has nothing to choose.
    `validation`: losses, long, as `losses_by_origin` takes them. Ties go to the name that sorts
    first, so the choice is reproducible.
    """
    means, _ = losses_by_origin(validation)
    chosen = {}
    rankings = {ranking for _, ranking in candidate_keys(means)}
    for ranking in ("shipped", *sorted(rankings & {"architecture"})):
        candidates = sorted(
            (float(means[key].mean()), key[0]) for key in keys_in_ranking(means, ranking)
        )
        if candidates:
            chosen[ranking] = candidates[0][1]
    return chosen


def find_preferences(
    validation: pd.DataFrame,
    chosen: Mapping[str, str],
    combined: Collection[str] = (),
    learnt: Collection[str] = (),
    **spacing: Unpack[Spacing],
) -> dict[str, Preference]:
    """By ranking the model to select instead of the chosen one, where validation cannot tell them
    apart.

    The one-standard-error rule (Breiman, Friedman, Olshen & Stone 1984) on paired differences: a
    candidate stands when it costs at most some standard errors (`ERRORS`) more than the one with
    the lowest loss. The first that stands is selected: with fewer than 30 origins whose horizons do
    not overlap the best baseline; the best of `learnt`, the combinations with learnt weights;
    instead of a single model, the best of `combined`. `validation` as in
    `select_models`.
    """
    means, _ = losses_by_origin(validation)
    mean_loss = {key: float(means[key].mean()) for key in candidate_keys(means)}
    n = len(means)
    has_few_origins = n > 0 and non_overlapping(n, **spacing) < ORIGINS
    preferences: dict[str, Preference] = {}
    for ranking, model in chosen.items():
        best = (model, ranking) if (model, ranking) in mean_loss else (model, "baseline")
        if has_few_origins and best[1] == "baseline" and best in mean_loss:
            continue
        alternatives: dict[PreferenceReason, list[Key]] = {}
        if has_few_origins:
            alternatives[FEW] = [key for key in mean_loss if key[1] == "baseline"]
        for reason, models in ((LEARNT, learnt), (SEVERAL, combined)):
            if model not in models:
                rivals = [(name, ranking) for name in models]
                alternatives[reason] = [key for key in rivals if key in mean_loss]
        for reason, candidates in alternatives.items():
            if not candidates:
                continue
            rival = min(candidates, key=lambda key: (mean_loss[key], key))
            extra = (means[rival] - means[best]).to_numpy(dtype=float)
            error = mean_error(extra, dependence(n, **spacing)).value if n > 3 else np.inf
            if float(extra.mean()) <= ERRORS[reason] * error:
                preferences[ranking] = Preference(
                    model=rival[0],
                    instead_of=model,
                    because=reason,
                    origins=n,
                    extra_loss=float(extra.mean()) / mean_loss[best],
                )
                break
    return preferences


def _checked(losses: pd.DataFrame) -> None:
    """`InputError` for a table of losses that lacks a column, any row, or has a row twice."""
    missing = [name for name in LOSS_COLUMNS if name not in losses]
    if missing:
        raise InputError(f"The loss table lacks {missing}; wanted {LOSS_COLUMNS}.")
    if losses.empty:
        raise InputError(
            "The loss table has no row: no model has a scored forecast. Check the test block's"
            " dates."
        )
    key = [*KEY, "unique_id", "cutoff"]
    if losses.duplicated(key).any():
        first = losses.loc[losses.duplicated(key), key].iloc[0].to_dict()
        raise InputError(f"The loss table has two rows for {first}; wanted one per {key}.")


def _scored_series(losses: pd.DataFrame) -> tuple[pd.DataFrame, dict[Key, str]]:
    """The losses of the series that have a scale; of the others the reason, by (name, "series")."""
    scored = losses["loss"].notna().groupby(losses["unique_id"], observed=True).any()
    empty = [str(name) for name, known in scored.items() if not known]
    rows_with_scale = losses[~losses["unique_id"].astype(str).isin(empty)]
    return rows_with_scale, {
        (name, "series"): "its train part is constant or one season, which has no scale"
        for name in empty
    }


def _scored_origins(losses: pd.DataFrame) -> tuple[pd.DataFrame, dict[Key, str]]:
    """Without the origins of a series that every row has NaN for: whoever forecasts, nothing was
    observed there.
    """
    place = ["unique_id", "cutoff"]
    is_known = losses["loss"].notna()
    known = is_known.groupby([losses[name] for name in place], observed=True).transform("any")
    if known.all():
        return losses, {}
    count = len(losses.loc[~known, place].drop_duplicates())
    total = len(losses[place].drop_duplicates())
    return losses[known], {
        NO_ACTUALS: f"{count} of the {total} origins have no actual in their whole horizon"
    }


def _incomplete(wide: pd.DataFrame, losses: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of the candidates that have no finite loss at some origin (`wide`: origins by candidate) the
    reason.
    """
    left_out: dict[Key, str] = {}
    is_finite = np.isfinite(losses["loss"].to_numpy(dtype=float))
    bad = losses.loc[~is_finite].groupby(KEY, observed=True).size()
    missing = wide.isna().sum()
    for key in candidate_keys(wide):
        count = int(missing[key])
        if key in bad.index:
            left_out[key] = f"{int(bad[key])} of its losses are not finite"
        elif count:
            left_out[key] = f"{count} of the {len(wide)} origins are missing"
    return left_out
