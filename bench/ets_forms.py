"""ETS refitted with the form that an earlier fit chose, or with a form chosen anew.

    python -m bench.ets_forms errors FILE SECONDS SEED [SEED ...]    # simulated, so long
    python -m bench.ets_forms records FILE                           # deciding panels
    python -m bench.ets_forms judge FILE [FILE ...]                  # what either wrote

AutoETS (E) and ETS with its season kept (K) are fitted to the first 60 % of a series of 101 to 400
rows, and to all of it: with that form, as `auto_ets` does beyond `FEW_ROWS` rows, and with a form
chosen anew. One forecast at the end. Rule and result: docs/research/short-histories.md.
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


def simulated(seed: int) -> Iterator[Short]:
    """A series of each step and kind."""
    for place, (step, (fewest, most)) in enumerate(ROWS.items()):
        for number, kind in enumerate((*LAWS, *TEXTBOOKS)):
            draw = np.random.default_rng([607, place, number, seed])
            count = int(draw.integers(fewest, most + 1)) + HORIZONS[step]
            yield Short(step, kind, draw_values(draw, step, kind, count))


def records() -> Iterator[Short]:
    """Two ends of each record, as many rows before them as both have, at most 400."""
    for step, kind, y in record_values():
        horizon = HORIZONS[step]
        count = min(len(y) - 4 * horizon, 400 + horizon)
        if count >= 101 + horizon:
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
            kept = model.fit_series(z, season, first)
            middle = time.process_time()
            anew = model.fit_series(z, season)
            end = time.process_time()
        except ModelError:
            continue
        assert isinstance(kept, auto_ets.Ets) and isinstance(anew, auto_ets.Ets)
        errors = {}
        for name, fitted in (("kept", kept), ("anew", anew)):
            ahead = size * fitted.forecasts(z, np.array([len(z) - 1]), horizon)[0]
            errors[name] = float(np.abs(hold(ahead, known) - actual).mean())
        yield {
            "member": member,
            "step": case.step,
            "kind": case.kind,
            "rows": len(known),
            "form kept": kept.components,
            "form anew": anew.components,
            "seconds kept": middle - begin,
            "seconds anew": end - middle,
            **errors,
        }


def write_errors(cases: Iterable[Short], path: str) -> None:
    """Of series whose values are never below zero, where forecasts are held."""
    warnings.simplefilter("ignore")
    rows = [row for case in cases if case.y.min() >= 0 for row in errors_of(case)]
    pd.DataFrame(rows).to_csv(path, index=False)


def judge(paths: list[str]) -> None:
    """Print the error with a form chosen anew over that with the form kept."""
    table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    table["length"] = pd.cut(table["rows"], [100, 150, 200, 300, 400]).astype(str)
    table["changes"] = table["form kept"] != table["form anew"]
    table["all"] = "all"
    table["logs"] = np.log(table["anew"].clip(lower=1e-9) / table["kept"].clip(lower=1e-9))
    for member, of_member in table.groupby("member"):
        for by in ("all", "length", "step", "kind"):
            print(member)
            groups = of_member.groupby(by)
            made = groups.agg(
                n=("logs", "size"),
                changes=("changes", "mean"),
                ratio=("logs", "mean"),
                se=("logs", "sem"),
                worst=("logs", "max"),
                seconds_kept=("seconds kept", "mean"),
                seconds_anew=("seconds anew", "mean"),
            )
            made[["ratio", "worst"]] = np.exp(made[["ratio", "worst"]])
            print(made.round(3).to_string())


if __name__ == "__main__":
    word, path, *rest = sys.argv[1:]
    if word == "errors":
        write_errors(drawn_until(simulated, float(rest[0]), map(int, rest[1:])), path)
    elif word == "records":
        write_errors(records(), path)
    else:
        judge([path, *rest])
