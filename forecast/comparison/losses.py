"""The losses of candidates by origin, and which model they select.

`losses_by_cutoff` makes a table of one row per cutoff and one column per candidate; a candidate
that lacks an origin, or has a loss that is not finite, is left out whole. `select_models` selects
on validation losses alone, so no test loss can decide; `select_bars` finds the simple forecasts
that "better" has to beat. For `comparing` and `verdicts`; the tests are in `paired_tests`.

A loss is the mean absolute error over the horizon at one cutoff, scaled: lower is better.
`comparing.block_losses` makes it. Whoever wants another one (a squared error, a weight for steps)
has to follow it where the absolute error is computed or read a second time: `Results.best_network`
(validation MASE of the leaderboard), `backtest.combinations` (members and weights),
`operations.evidence` (the gate's losses), and `audit.rescored` (scores and choice once more). The
loss that a network is trained with (`networks.losses`) is another matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from forecast.config.models import SIMPLE_FORECASTS
from forecast.data.calendars import Calendar, grid
from forecast.system.errors import InputError

CandidateKey = tuple[str, str]
"""The model and the ranking of a candidate."""
CANDIDATE_COLUMNS = ["model", "ranking"]
NEAR_BAR = 1.1
"""A simple forecast counts as a bar up to this multiple of the lowest one's validation loss."""
LOSS_COLUMNS = [*CANDIDATE_COLUMNS, "skip", "unique_id", "cutoff", "loss"]


@dataclass(frozen=True)
class LeftOut:
    """What is not compared."""

    candidates: Mapping[CandidateKey, str] = field(default_factory=dict)
    """Each candidate that is left out, with the reason."""
    series: tuple[str, ...] = ()
    """The series for which no candidate has a loss."""
    origins: str = ""
    """How many origins have no actual, as a phrase; empty: none."""


def candidate_keys(losses: pd.DataFrame) -> list[CandidateKey]:
    """The columns of `losses_by_cutoff` as (model, ranking)."""
    return [(str(key[0]), str(key[1])) for key in losses.columns.to_list()]


def keys_in_ranking(losses: pd.DataFrame, ranking: str) -> list[CandidateKey]:
    """The columns of `losses_by_cutoff` that stand in `ranking`: its own and the baselines."""
    return [key for key in candidate_keys(losses) if key[1] in (ranking, "baseline")]


def losses_by_cutoff(losses: pd.DataFrame) -> tuple[pd.DataFrame, LeftOut]:
    """The losses with one row per cutoff and one column per (model, ranking); and what was left
    out. An origin is a series at a cutoff. `losses`: long, with LOSS_COLUMNS; `InputError` if there
    are none.

    The series of a cutoff are averaged: origins of the same date are one cluster, not independent
    evidence. Where cutoffs have unequal numbers of series, as after one has ended, the average is
    weighted by the number, so that the mean over the cutoffs is that over all origins.

    Left out are candidates with a loss that is not finite or without some of the origins that
    others have, series for which no candidate has a loss, and origins without any actual.
    """
    if losses.empty:
        raise InputError("No model has a scored forecast. Check the test block's dates.")
    is_known = losses["loss"].notna()
    has_series = is_known.groupby(losses["unique_id"], observed=True).transform("any")
    unscored = tuple(sorted(losses.loc[~has_series, "unique_id"].astype(str).unique()))
    losses = losses[has_series]
    if losses.empty:
        columns = pd.MultiIndex.from_tuples([], names=CANDIDATE_COLUMNS)
        return pd.DataFrame(columns=columns), LeftOut(series=unscored)
    # nothing was observed at an origin for which no candidate has a loss
    origins = losses[["unique_id", "cutoff"]]
    keys = [origins[name] for name in origins]
    has_actual = is_known[has_series].groupby(keys, observed=True).transform("any")
    no_actual = ""
    if not has_actual.all():
        n_missing = len(origins[~has_actual].drop_duplicates())
        no_actual = (
            f"{n_missing} of the {len(origins.drop_duplicates())} origins have no actual in their"
            " whole horizon"
        )
        losses = losses[has_actual]
    by_key = losses.set_index(["unique_id", "cutoff", *CANDIDATE_COLUMNS])["loss"]
    wide = by_key.unstack(CANDIDATE_COLUMNS).sort_index()
    incomplete = _find_incomplete(wide, losses)
    by_cutoff = wide.drop(columns=list(incomplete)).groupby(level="cutoff")
    n_series = by_cutoff.size()
    weighted = by_cutoff.mean().mul(n_series / n_series.mean(), axis=0)
    return weighted.sort_index(), LeftOut(incomplete, unscored, no_actual)


def select_models(losses: pd.DataFrame, learnt: Collection[str] = ()) -> dict[str, str]:
    """The selected model of each ranking: the one with the lowest mean validation loss, of the
    combinations `learnt` if one of them stands in the ranking, else of all models.

    losses: those on validation, a column per candidate (`losses_by_cutoff`)
    learnt: the models that are combinations with learnt weights

    Baselines stand in both rankings; without a network, `architecture` selects nothing. Of losses
    that are equal to twelve digits, a simple forecast goes first, in the order of
    `SIMPLE_FORECASTS`, then any other baseline, then the name that sorts first: a model that adds
    nothing to a simpler one, as a network that did not train, is not served in its place.
    """
    simplicity = {name: number for number, name in enumerate(SIMPLE_FORECASTS)}
    selected = {}
    rankings = {ranking for _, ranking in candidate_keys(losses)}
    for ranking in ("shipped", *(rankings & {"architecture"})):
        candidates = sorted(
            (
                model not in learnt,
                float(f"{losses[model, stands_in].mean():.12g}"),
                simplicity.get(model, len(SIMPLE_FORECASTS)),
                stands_in != "baseline",
                model,
            )
            for model, stands_in in keys_in_ranking(losses, ranking)
        )
        if candidates:
            selected[ranking] = candidates[0][-1]
    return selected


def select_bars(losses: pd.DataFrame) -> list[str]:
    """The simple forecasts that "better" has to beat: the one of `SIMPLE_FORECASTS` with the lowest
    validation loss, and those so near to it that validation may have mistaken them.

    One that is far above is left out: its losses may be those of a random walk, from which no test
    distinguishes any model. `losses`: as in `select_models`.
    """
    keys = [(name, "baseline") for name in SIMPLE_FORECASTS if (name, "baseline") in losses]
    mean_losses = losses[keys].mean().sort_values(kind="stable")
    return [name for name, _ in mean_losses.index[mean_losses <= NEAR_BAR * mean_losses.min()]]


def mean_steps_between(cutoffs: pd.Series | pd.Index, calendar: Calendar, step_size: int) -> float:
    """The mean number of time steps between neighbouring `cutoffs` of all series: `step_size`, or
    fewer where series have blocks of their own, with cutoffs between those of others.
    """
    moments = np.unique(cutoffs)
    n_steps = len(grid(calendar, moments[0], moments[-1])) - 1
    if not n_steps:
        return step_size
    return min(step_size, n_steps / (len(moments) - 1))


def _find_incomplete(wide: pd.DataFrame, losses: pd.DataFrame) -> dict[CandidateKey, str]:
    """The candidates without a finite loss at some origin, with the reason: losses that are not
    finite, else origins that are missing. `losses`: one a row; `wide`: origins by candidates.
    """
    incomplete = {}
    is_finite = np.isfinite(losses["loss"].to_numpy(float))
    n_infinite = losses.loc[~is_finite].groupby(CANDIDATE_COLUMNS, observed=True).size()
    n_missing = wide.isna().sum()
    for key in candidate_keys(wide):
        if key in n_infinite.index:
            incomplete[key] = f"{n_infinite[key]} of its losses are not finite"
        elif n_missing[key]:
            incomplete[key] = f"{n_missing[key]} of the {len(wide)} origins are missing"
    return incomplete
