"""ETS refitted with the form that an earlier fit chose, or with a form chosen anew.

    python -m bench.ets_forms errors FILE SECONDS SEED [SEED ...]    # simulated, so long
    python -m bench.ets_forms longer FILE SECONDS SEED [SEED ...]    # to 1,000 rows
    python -m bench.ets_forms records FILE                           # deciding panels
    python -m bench.ets_forms longer_records FILE
    python -m bench.ets_forms judge FILE [FILE ...]                  # what the others wrote
    python -m bench.ets_forms pool FILE [FILE ...]                   # a series counts once

AutoETS (E) and ETS with its season kept (K) are fitted to the first 60 % of a series of 101 rows or
more, and to all of it: with that form, as `auto_ets` does beyond `MAX_CHOICE_ROWS` rows, and with a
form chosen anew. One forecast at the end. Rules and results: docs/research/short-histories.md.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from bench.short_rows import LAWS, MODELS, SEASONS
from bench.short_scales import (
    HORIZONS,
    TEXTBOOKS,
    Short,
    draw_values,
    drawn_until,
    hold,
    record_values,
)
from forecast.models.families import auto_ets
from forecast.system.errors import ModelError

TRAIN_SHARE = 0.6
ROWS = {"months": (101, 240), "quarters": (101, 160), "days": (101, 400), "weeks": (104, 400)}
"""Fewest and most rows before the forecast."""
LONGER_ROWS = {"months": (241, 600), "weeks": (401, 1000), "days": (401, 1000)}
GROWING = ("airline", "growth", "textbook multiplied", "textbook added")
"""Kinds that grow by so much in each season that a hundred weeks of days leave every scale."""
LENGTHS = (100, 200, 400, 600, 1000)
"""Ends of the lengths of the pooled rule; a choice of `MAX_CHOICE_ROWS` is one of them."""


def simulated(seed: int) -> Iterator[Short]:
    """A series of each step and kind."""
    for place, (step, (fewest, most)) in enumerate(ROWS.items()):
        for number, kind in enumerate((*LAWS, *TEXTBOOKS)):
            draw = np.random.default_rng([607, place, number, seed])
            count = int(draw.integers(fewest, most + 1)) + HORIZONS[step]
            yield Short(step, kind, draw_values(draw, step, kind, count))


def longer(seed: int) -> Iterator[Short]:
    """A series of each step but quarters, and of each kind; of days of those that do not grow."""
    for place, (step, (fewest, most)) in enumerate(LONGER_ROWS.items()):
        for number, kind in enumerate((*LAWS, *TEXTBOOKS)):
            if step == "days" and kind in GROWING:
                continue
            draw = np.random.default_rng([609, place, number, seed])
            count = int(draw.integers(fewest, most + 1)) + HORIZONS[step]
            yield Short(step, kind, draw_values(draw, step, kind, count))


def records(fewest: int, most: int) -> Iterator[Short]:
    """Two ends of each record, as many rows before them as both have, at most `most`."""
    for step, kind, y in record_values():
        horizon = HORIZONS[step]
        count = min(len(y) - 4 * horizon, most + horizon)
        if count >= fewest + horizon:
            for end in (len(y), len(y) - 4 * horizon):
                yield Short(step, kind, y[end - count : end])


def errors_of(case: Short) -> Iterator[dict[str, object]]:
    """The mean absolute error of each member both ways, and the seconds of each refit."""
    horizon, season = HORIZONS[case.step], SEASONS[case.step]
    known, actual = case.y[:-horizon], case.y[-horizon:]
    size = known.std()
    z = known / size
    for member in "EK":
        model = MODELS[member]
        try:
            first = model.fit_series(z[: int(TRAIN_SHARE * len(z))], season)
            begin = time.process_time()
            same_form = model.fit_series(z, season, first)
            middle = time.process_time()
            new_form = model.fit_series(z, season)
            end = time.process_time()
        except ModelError:
            continue
        assert isinstance(same_form, auto_ets.Ets) and isinstance(new_form, auto_ets.Ets)
        errors = {}
        for name, fitted in (("kept", same_form), ("anew", new_form)):
            ahead = size * fitted.forecasts(z, np.array([len(z) - 1]), horizon)[0]
            errors[name] = float(np.abs(hold(ahead, known) - actual).mean())
        yield {
            "member": member,
            "step": case.step,
            "kind": case.kind,
            "rows": len(known),
            "form kept": same_form.components,
            "form anew": new_form.components,
            "seconds kept": middle - begin,
            "seconds anew": end - middle,
            **errors,
        }


def write_errors(cases: Iterable[Short], path: str) -> None:
    """Of series whose values are never below zero, where forecasts are held."""
    warnings.simplefilter("ignore")
    rows = [
        {"series": number, **row}
        for number, case in enumerate(cases)
        if case.y.min() >= 0
        for row in errors_of(case)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


def read_errors(paths: list[str]) -> pd.DataFrame:
    """What `write_errors` wrote, with `logs`, the logarithm of the error anew over that kept."""
    table = pd.concat([pd.read_csv(path).assign(path=path) for path in paths], ignore_index=True)
    table["changes"] = table["form kept"] != table["form anew"]
    table["all"] = "all"
    table["logs"] = np.log(table["anew"].clip(lower=1e-9) / table["kept"].clip(lower=1e-9))
    return table


def judge(paths: list[str]) -> None:
    """Print the error with a form chosen anew over that with the form kept."""
    table = read_errors(paths)
    table["length"] = pd.cut(table["rows"], [100, 150, 200, 300, 400]).astype(str)
    for member, of_member in table.groupby("member"):
        for by in ("all", "length", "step", "kind"):
            print(member)
            groups = of_member.groupby(by)
            summary = groups.agg(
                n=("logs", "size"),
                changes=("changes", "mean"),
                ratio=("logs", "mean"),
                se=("logs", "sem"),
                worst=("logs", "max"),
                seconds_kept=("seconds kept", "mean"),
                seconds_anew=("seconds anew", "mean"),
            )
            summary[["ratio", "worst"]] = np.exp(summary[["ratio", "worst"]])
            print(summary.round(3).to_string())


def pool(paths: list[str]) -> None:
    """Print the error with a form chosen anew over that with the form kept, the mean logarithm of
    both members for each series, on the series up to each end of `LENGTHS`.
    """
    table = read_errors(paths)
    table["length"] = pd.cut(table["rows"], LENGTHS).astype(str)
    for end in LENGTHS[1:]:
        so_long = table[table["rows"] <= end]
        for by in ("all", "member", "length", "step", "kind"):
            keys = [by, "path", "series"]
            of_series = so_long.groupby(keys)["logs"].mean().groupby(by)
            groups = so_long.groupby(by)
            summary = pd.DataFrame(
                {
                    "n": of_series.size(),
                    "ratio": np.exp(of_series.mean()),
                    "se": of_series.sem(),
                    "changes": groups["changes"].mean(),
                    "worst": np.exp(groups["logs"].max()),
                    "seconds kept": groups["seconds kept"].mean(),
                    "seconds anew": groups["seconds anew"].mean(),
                }
            )
            print("up to", end)
            print(summary.round(4).to_string())
        print(so_long.nlargest(3, "logs")[["member", "step", "kind", "rows", "kept", "anew"]])


if __name__ == "__main__":
    word, path, *rest = sys.argv[1:]
    if word in ("errors", "longer"):
        draw_seed = simulated if word == "errors" else longer
        write_errors(drawn_until(draw_seed, float(rest[0]), map(int, rest[1:])), path)
    elif word == "records":
        write_errors(records(101, 400), path)
    elif word == "longer_records":
        write_errors(records(401, 1000), path)
    elif word == "pool":
        pool([path, *rest])
    else:
        judge([path, *rest])
