"""Losses of the origins, comparable between models, and which model they select.

For `comparing` and `verdicts`. `losses_by_origin` makes of long losses one row per cutoff and one
column per candidate: who lacks an origin, or has a loss that is not finite, is left out whole, with
the reason. `select_models` takes a combination with learnt weights, or else the lowest on
validation. Nothing is tested here (`paired_tests`).

A candidate is a `Key`, (model, ranking); a loss is the mean over the horizon at one cutoff, lower
is better, and its columns are `LOSS_COLUMNS`. Selection is given validation losses alone, so that
no test loss can decide it. Another rule of selection would be made in `select_models`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from forecast.config.models import SIMPLE_FORECASTS
from forecast.data.calendars import Calendar, grid
from forecast.system.errors import InputError

Key = tuple[str, str]  # model, ranking
KEY = ["model", "ranking"]
NO_ACTUALS: Key = ("", "origins")
NOTHING_TO_SCORE = "its train part has no scale (constant, or one season), or its origins no actual"
"""Of a series that no model has a loss for."""
NEAR_BAR = 1.1
"""A simple forecast is judged against up to this multiple of the lowest one's validation loss."""
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
    one cluster, not independent evidence. Where cutoffs have unequal numbers of series, as after
    one has ended, such an average is weighted by its number, so that the mean over the cutoffs is
    that over all origins. A model with a loss that is not finite, or without some
    of the origins the others have, is left out whole. A series no model has a loss for
    (`NOTHING_TO_SCORE`) is left out of all, listed as (series, "series"); so are origins whose
    horizon has no actual at all, counted under `NO_ACTUALS`.
    """
    if losses.empty:
        raise InputError("No model has a scored forecast. Check the test block's dates.")
    losses, without_loss = _scored_series(losses)
    losses, without_actuals = _scored_origins(losses)
    without_loss |= without_actuals
    if losses.empty:
        return pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=KEY)), without_loss
    wide = losses.set_index(["unique_id", "cutoff", *KEY])["loss"].unstack(KEY).sort_index()
    left_out = _incomplete(wide, losses)
    by_cutoff = wide.drop(columns=list(left_out)).groupby(level="cutoff")
    counts = by_cutoff.size()
    means = by_cutoff.mean().mul(counts / counts.mean(), axis=0)
    return means.sort_index(), {**left_out, **without_loss}


def select_models(validation: pd.DataFrame, learnt: Collection[str] = ()) -> dict[str, str]:
    """The model that each ranking selects: the one of `learnt`, combinations with learnt weights,
    with the lowest mean validation loss; where none stands in the ranking, of all models.

    Baselines stand in both rankings. Without a network of its own, `architecture` has nothing to
    select. `validation`: losses, long, as `losses_by_origin` takes them. Of losses equal to twelve
    digits one of `SIMPLE_FORECASTS` goes first, in their order, else the name that sorts first:
    what adds nothing to a simple forecast is not served in its place.
    """
    means, _ = losses_by_origin(validation)
    simplicity = {name: number for number, name in enumerate(SIMPLE_FORECASTS)}
    selected = {}
    rankings = {ranking for _, ranking in candidate_keys(means)}
    for ranking in ("shipped", *sorted(rankings & {"architecture"})):
        candidates = sorted(
            (
                model not in learnt,
                float(f"{means[model, stands_in].mean():.12g}"),
                simplicity.get(model, len(SIMPLE_FORECASTS)),
                model,
            )
            for model, stands_in in keys_in_ranking(means, ranking)
        )
        if candidates:
            selected[ranking] = candidates[0][-1]
    return selected


def select_bars(validation: pd.DataFrame) -> list[str]:
    """Whom "better" has to beat: of `SIMPLE_FORECASTS` the one with the lowest validation loss, and
    those so near to it that validation may have mistaken them.

    One that is far above is left out: its losses may be those of a random walk, from which no test
    tells anybody.
    """
    means, _ = losses_by_origin(validation)
    references: list[Key] = [(name, "baseline") for name in SIMPLE_FORECASTS]
    loss_of = means[[key for key in references if key in means]].mean()
    loss_of = loss_of.sort_values(kind="stable")
    return [name for name, _ in loss_of.index[loss_of <= NEAR_BAR * loss_of.min()]]


def mean_steps_between(cutoffs: pd.Series | pd.Index, calendar: Calendar, step_size: int) -> float:
    """Time steps from one of the `cutoffs` of all series to the next: `step_size`, or fewer where
    blocks are those of each series, and its cutoffs lie between those of others.
    """
    moments = np.unique(cutoffs)
    n_steps = len(grid(calendar, moments[0], moments[-1])) - 1
    if not n_steps:
        return step_size
    return min(step_size, n_steps / (len(moments) - 1))


def _scored_series(losses: pd.DataFrame) -> tuple[pd.DataFrame, dict[Key, str]]:
    """The losses of the series that have any; of the others the reason, by (name, "series")."""
    scored = losses["loss"].notna().groupby(losses["unique_id"], observed=True).any()
    empty = [str(name) for name, known in scored.items() if not known]
    scored_rows = losses[~losses["unique_id"].astype(str).isin(empty)]
    return scored_rows, {(name, "series"): NOTHING_TO_SCORE for name in empty}


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
    """Why candidates without a finite loss at some origin are left out, by candidate; `wide`:
    origins by candidate.
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
