"""Which stages of the search of `identify` earn their place: each is left out in turn.

    nice -n 15 .venv/bin/python -m bench.identification_stages --records DATA --results FILE

DATA is a folder with the deciding records (daisy_*.csv, cascaded_tanks.csv); FILE a CSV with a line
for every record and variant, which a second call goes on from. Trainings that two variants share are
run once; the seconds of a variant count them all the same. docs/research/identification-stages.md
has the rule and what came of it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from bench.identification_systems import TWENTY, simulate_records
from forecast.identification import Experiment, SearchSettings, identify, search, search_settings
from forecast.identification.experiment import BOUND_MARGIN
from forecast.identification.treatments import UNTREATED, Treatment
from forecast.system.errors import ModelError
from forecast.training import levenberg_marquardt as lm

Record = tuple[Experiment, Experiment, float]
"""To identify, to simulate, and the unit of the error."""


def deciding_records(folder: Path) -> dict[str, Callable[[], Record]]:
    """Measured records, shortened: the first half identifies, the second is simulated."""

    def dryer() -> Record:
        table = pd.read_csv(folder / "daisy_industrial_dryer.csv").to_numpy()
        return cut(table[:, 1:4], table[:, 4:5], 433, 433, 866)

    def exchanger() -> Record:
        table = pd.read_csv(folder / "daisy_exchanger.csv")[["q", "th"]].to_numpy()
        return cut(table[:, :1], table[:, 1:], 600, 2000, 3000)

    def ball() -> Record:
        table = pd.read_csv(folder / "daisy_ball-and-beam.csv")[["u", "y"]].to_numpy()
        return cut(table[:, :1], table[:, 1:], 500, 500, 1000)

    def tanks() -> Record:
        table = pd.read_csv(folder / "cascaded_tanks.csv")[["uEst", "yEst", "uVal", "yVal"]]
        u, y, v, z = table.dropna().to_numpy().T
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


def no_linear(self: search._Search) -> list[tuple[object, str]]:
    return [(net, kind) for net, kind in STATE_NETS(self) if kind != search.LINEAR]


def never_given_up(self: search._Search, families: set[str], *rest: object) -> set[str]:
    DROP_WORSE(self, families, *rest)
    return families


def without_short_rule(self: search._Search, *arguments: object) -> search.Member:
    with mock.patch.object(self, "is_short", False):
        return TRAIN_WHILE_BETTER(self, *arguments)


def without_refit(self: search._Search, member: search.Member, _: int) -> search.Member:
    with mock.patch.object(search._Search, "is_interrupted", True):
        return REFIT(self, member, 0)


def refit_once(self: search._Search, winners: list[search.Member]) -> list[search.Member]:
    rows = sum(map(len, self.experiments))
    members = [self._refit(member, self.settings.refit_iterations) for member in winners]
    if all(member.kind == search.LINEAR for member in winners):
        return members
    return search.choose_members(members, rows)


def choose_whatever_integrates(members: list[search.Member], rows: int) -> list[search.Member]:
    nameless = [replace(member, kind="") for member in members]
    chosen = {member.weights.tobytes() for member in CHOOSE(nameless, rows)}
    return [member for member in members if member.weights.tobytes() in chosen]


def untrained(self: search._Search, members: list[search.Member], _: object) -> list[object]:
    return list(members)


def margins(experiments: list[Experiment]) -> tuple[np.ndarray, np.ndarray]:
    y = np.concatenate([e.y for e in experiments])
    least, most = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    return least - BOUND_MARGIN * (most - least), most + BOUND_MARGIN * (most - least)


def keep_all(members: list[search.Member], *_: object) -> tuple[list[search.Member], list[str]]:
    return members, []


def untreated(_: object, experiments: object) -> list[Treatment]:
    return [UNTREATED]


STATE_NETS = search._Search._state_nets
DROP_WORSE = search._Search._drop_worse_families
TRAIN_WHILE_BETTER = search._Search._train_while_better
REFIT = search._Search._refit
CHOOSE = search.choose_members
SELECT = search.select_treatments

VARIANTS: dict[str, Variant] = {
    "whole": with_settings(),
    "without delays": with_settings(starts=0),
    "without states": with_settings(states=()),
    "without integrating": with_settings(integrating=()),
    "without linear": with_replaced("_state_nets", no_linear, search._Search),
    "without treatments": with_replaced("select_treatments", untreated),
    "without decimation": with_replaced(
        "select_treatments",
        lambda names, experiments: [t for t in SELECT(names, experiments) if t.stride == 1],
    ),
    "without prefilter": with_replaced(
        "select_treatments",
        lambda names, experiments: [t for t in SELECT(names, experiments) if t.smooth == 1],
    ),
    "without differences": with_settings(coordinates=("level", "increments")),
    "without increments": with_settings(coordinates=("level", "differences")),
    "two rounds": with_settings(rounds=((10, 3), (20, 3))),
    "one round": with_settings(rounds=((10, 3),)),
    "one survivor": with_settings(rounds=((10, 1), (20, 1), (30, 1))),
    "no repeated rounds": with_replaced("MAX_REPEATS", 1),
    "short records as others": with_replaced(
        "_train_while_better", without_short_rule, search._Search
    ),
    "no family given up": with_replaced("_drop_worse_families", never_given_up, search._Search),
    "no near nets of given-up families": with_replaced("_NEAR", 0.0),
    "no refit": with_replaced("_refit", without_refit, search._Search),
    "refit once": with_replaced("refit_winners", refit_once, search._Search),
    "no gap rule": with_replaced("ENOUGH_MEMBERS", 10_000),
    "no limit of errors": with_replaced("NO_SYSTEM", 1e9),
    "integrating never alone": with_replaced("choose_members", choose_whatever_integrates),
    "bounds not tested": with_replaced("_keep_bounded", keep_all),
    "no saturation": with_replaced("saturation", margins),
    "no dead times": with_replaced("dead_times", lambda es: (0,) * es[0].u.shape[1]),
    "no input memory": with_replaced("input_memory", lambda es: 0, search_settings),
    "states begin as ARX": with_replaced("LINEAR_ROUNDS", 1),
    "no one-step fit": with_replaced("_fit_one_step", untrained, search._Search),
    "three folds": with_settings(folds=3),
    "two folds": with_settings(folds=2),
}


@dataclass
class Memory:
    """What trainings gave by what they were given, and the seconds that a variant would spend on
    those it does not repeat.
    """

    results: dict[bytes, tuple[lm.Result | ModelError, float]]
    shared_seconds: float = 0.0


@contextmanager
def remembered(memory: Memory) -> Iterator[None]:
    """Every training that was run before gives what it gave then."""
    plain = lm.minimise

    def minimise(problem: object, *starts: np.ndarray, **options: object) -> lm.Result:
        key = digest(problem, starts[0], options["options"])
        if key in memory.results:
            result, seconds = memory.results[key]
            memory.shared_seconds += seconds
        else:
            begin = time.process_time()
            try:
                result = plain(problem, *starts, **options)  # type: ignore[arg-type]
            except ModelError as error:
                result = error
            memory.results[key] = result, time.process_time() - begin
        if isinstance(result, ModelError):
            raise result
        return result

    with mock.patch.object(lm, "minimise", minimise):
        yield


def digest(problem: object, start: np.ndarray, options: object) -> bytes:
    """Of all numbers that a training depends on."""
    total = hashlib.sha1(repr(options).encode())
    pending = [problem, start]
    while pending:
        part = pending.pop()
        if isinstance(part, np.ndarray):
            total.update(part.tobytes())
        elif callable(part) and getattr(part, "__closure__", None):
            pending.extend(cell.cell_contents for cell in part.__closure__)
        elif hasattr(part, "__self__"):
            pending.append(part.__self__)
        elif hasattr(part, "__dict__"):
            total.update(type(part).__name__.encode())
            pending += [
                value
                for name, value in sorted(vars(part).items())
                if not name.startswith("_") and name != "is_following"
            ]
        elif isinstance(part, list | tuple):
            pending.extend(part)
        else:
            total.update(repr(part).encode())
    return total.digest()


def identify_by(variant: Variant, record: Record, memory: Memory) -> tuple[float, float, str]:
    """(error of the simulation, CPU seconds, notes)."""
    first, last, unit = record
    memory.shared_seconds = 0.0
    begin = time.process_time()
    notes = ""
    with ExitStack() as stack, remembered(memory):
        settings = variant(stack)
        try:
            model = identify(first, settings=settings)
            run = model.parallel(last.u, last.y[: model.start]).y
            rows = slice(max(model.start, 10), None)
            error = float(np.sqrt(np.mean((run - last.y)[rows] ** 2))) / unit
            notes = " ".join(model.notes)
        except ModelError as failure:
            error, notes = np.inf, str(failure)
    return error, time.process_time() - begin + memory.shared_seconds, notes


def main() -> None:
    """Run what the file of results has not yet, record after record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--only", default="", help="records whose name contains this")
    arguments = parser.parse_args()
    makers: dict[str, Callable[[], Record]] = dict(deciding_records(arguments.records))
    for name in TWENTY:
        makers[name] = lambda name=name: simulate_records(name)
    finished = set()
    if arguments.results.exists():
        with arguments.results.open() as file:
            finished = {(row[0], row[1]) for row in csv.reader(file)}
    for name, make in makers.items():
        todo = [variant for variant in VARIANTS if (name, variant) not in finished]
        if arguments.only not in name or not todo:
            continue
        memory = Memory({})
        for variant in todo:
            error, seconds, notes = identify_by(VARIANTS[variant], make(), memory)
            with arguments.results.open("a", newline="") as file:
                csv.writer(file).writerow([name, variant, f"{error:.5g}", f"{seconds:.2f}", notes])
            print(f"{name:<30} {variant:<36} {error:9.4g} {seconds:7.2f} s", flush=True)


if __name__ == "__main__":
    main()
