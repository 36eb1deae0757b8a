"""Which stages of the search of `identify` earn their place: each is left out in turn.

    nice -n 15 .venv/bin/python -m bench.identification_stages --records DATA --results FILE

DATA is ../shared/data, with the deciding records (records/daisy_*.csv) and
benchmarks/cascaded_tanks.csv; FILE a CSV with a line for every record and variant, which a second
call goes on from. With `--draw N` the simulated systems have other inputs and noise, ten more come
beside the twenty, and the tanks are left out. The rule and what came of it:
docs/research/identification-stages.md. `--variants whole` is the search as it is.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from bench.identification_systems import TEN_MORE, TWENTY, simulate_records
from forecast.identification import (
    Experiment,
    SearchSettings,
    identify,
    member,
    search,
    search_training,
    term_search,
)
from forecast.identification.experiment import BOUND_MARGIN
from forecast.identification.member import Member
from forecast.identification.search_settings import CANDIDATES
from forecast.system.errors import ModelError

Record = tuple[Experiment, Experiment, float]
"""To identify, to simulate, and the unit of the error."""


def deciding_records(folder: Path) -> dict[str, Callable[[], Record]]:
    """Measured records, shortened: the first half identifies, the second is simulated."""

    def dryer() -> Record:
        table = pd.read_csv(folder / "records/daisy_industrial_dryer.csv").to_numpy()
        return cut(table[:, 1:4], table[:, 4:5], 433, 433, 866)

    def exchanger() -> Record:
        table = pd.read_csv(folder / "records/daisy_exchanger.csv")[["q", "th"]].to_numpy()
        return cut(table[:, :1], table[:, 1:], 600, 2000, 3000)

    def ball() -> Record:
        table = pd.read_csv(folder / "records/daisy_ball-and-beam.csv")[["u", "y"]].to_numpy()
        return cut(table[:, :1], table[:, 1:], 500, 500, 1000)

    def tanks() -> Record:
        table = pd.read_csv(folder / "benchmarks/cascaded_tanks.csv")
        u, y, v, z = table[["uEst", "yEst", "uVal", "yVal"]].dropna().to_numpy().T
        return Experiment(u[:520], y[:520]), Experiment(v, z), float(z.std())

    return {"dryer": dryer, "exchanger": exchanger, "ball and beam": ball, "tanks": tanks}


def cut(u: np.ndarray, y: np.ndarray, rows: int, border: int, end: int) -> Record:
    """The last `rows` before the border identify, those up to the end are simulated."""
    before, after = slice(border - rows, border), slice(border, end)
    return Experiment(u[before], y[before]), Experiment(u[after], y[after]), float(y[after].std())


Variant = Callable[[ExitStack], SearchSettings]
"""The settings of a variant, with what it replaces in the search entered into the stack."""


def with_settings(**changes: object) -> Variant:
    return lambda stack: replace(SearchSettings(), **changes)  # type: ignore[arg-type]


def with_replaced(name: str, value: object, where: object = search) -> Variant:
    def variant(stack: ExitStack) -> SearchSettings:
        stack.enter_context(mock.patch.object(where, name, value))
        return SearchSettings()

    return variant


def without(kind: str) -> Variant:
    """All candidates but those of a kind."""
    others = tuple(each for each in CANDIDATES if each.kind != kind)
    return with_settings(candidates=others)


def no_refit(_: search_training.Trainer, member: Member, *__: object) -> Member:
    return replace(member, train_rmse=1.0)


def at_random(_: search_training.Trainer, member: Member, train: object) -> np.ndarray:
    return member.weights


def margins(
    experiments: list[Experiment], margin: float = BOUND_MARGIN
) -> tuple[np.ndarray, np.ndarray]:
    y = np.concatenate([e.y for e in experiments])
    least, most = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    return least - margin * (most - least), most + margin * (most - least)


def keep_all(members: list[Member], *_: object) -> tuple[list[Member], list[str]]:
    return members, []


def choose_before_training(owner: search._Search, folded: list[Member]) -> list[Member]:
    """Which candidates are good is told by the models of the folds, before any is trained on."""
    good = member.list_good(folded)
    with mock.patch.object(search, "list_good", lambda _: good):
        return choose_after_best(owner, folded)


choose_after_best = search._Search.choose_and_train
drop_terms = term_search.TermSearch._drop_terms


VARIANTS: dict[str, Variant] = {
    "whole": with_settings(),
    "without linear states": without("linear states"),
    "without states": without("states"),
    "without one signal": without("one signal"),
    "without polynomial": without("polynomial"),
    "without delays": without("delays"),
    "no last training": with_replaced("train_further", no_refit, search_training.Trainer),
    "all that were trained last": with_replaced("NO_SYSTEM", 1e9, member),
    "larger inputs not tried": with_replaced("keep_plausible", keep_all),
    "no halving": with_replaced("keep_best_candidates", lambda members, _: members),
    "none given up early": with_replaced("list_hopeless", lambda _: []),
    "candidates that stray stay": with_replaced("leave_out_straying", lambda members, *_: members),
    "nets stay beside linear models": with_replaced("choose_members", member.leave_out_lost),
    "terms chosen once": with_replaced("_refine_terms", drop_terms, term_search.TermSearch),
    "chosen before training on": with_replaced(
        "choose_and_train", choose_before_training, search._Search
    ),
    "no tied blocks": with_replaced("TIED_BLOCKS", 2.0, member),
    "ten iterations in a fold": with_settings(fold_iterations=10),
    "three folds": with_settings(folds=3),
    "linear models trained once": with_replaced("LINEAR_ROUNDS", 1, search_training),
    "poles not limited": with_replaced("limit_poles", lambda _, weights: weights, search_training),
    "lost last models stay": with_replaced("leave_out_lost", lambda members: members),
    "no one-step fit": with_replaced("fit_one_step", at_random, search_training.Trainer),
    "no saturation": with_replaced("saturation", margins),
    "no dead times": with_replaced("find_held_back_rows", lambda es, _: ((0,),) * es[0].u.shape[1]),
}


def identify_by(variant: Variant, record: Record, seed: int) -> tuple[float, float, str]:
    """(error of the simulation, CPU seconds, notes)."""
    first, last, unit = record
    begin = time.process_time()
    notes = ""
    with ExitStack() as stack:
        settings = variant(stack)
        try:
            model = identify(first, seed=seed, settings=settings)
            run = model.simulate(last.u, last.y[: model.start]).y
            rows = slice(max(model.start, 10), None)
            error = float(np.sqrt(np.mean((run - last.y)[rows] ** 2))) / unit
            notes = " ".join(model.notes)
        except ModelError as failure:
            error, notes = np.inf, str(failure)
    return error, time.process_time() - begin, notes


def main() -> None:
    """Run what the file of results has not yet, record after record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--variants", default="", help="the names of some, separated by ;")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", type=int, default=0, help="of the simulated systems")
    parser.add_argument("--only", default="", help="the record of this name alone")
    arguments = parser.parse_args()
    makers: dict[str, Callable[[], Record]] = dict(deciding_records(arguments.records))
    draw = arguments.draw
    if draw:
        del makers["tanks"]
    for name in TWENTY | TEN_MORE if draw else TWENTY:
        makers[name] = lambda name=name: simulate_records(name, draw)
    finished = set()
    if arguments.results.exists():
        with arguments.results.open() as file:
            finished = {(row[0], row[1]) for row in csv.reader(file)}
    for name, make in makers.items():
        variants = arguments.variants.split(";") if arguments.variants else list(VARIANTS)
        todo = [variant for variant in variants if (name, variant) not in finished]
        if arguments.only not in ("", name) or not todo:
            continue
        for variant in todo:
            error, seconds, notes = identify_by(VARIANTS[variant], make(), arguments.seed)
            with arguments.results.open("a", newline="") as file:
                csv.writer(file).writerow([name, variant, f"{error:.5g}", f"{seconds:.2f}", notes])
            print(f"{name:<30} {variant:<36} {error:9.4g} {seconds:7.2f} s", flush=True)


if __name__ == "__main__":
    main()
