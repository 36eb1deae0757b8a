"""Which groups of rules the search of `identify` needs, begun from the smallest search there is.

    nice -n 10 .venv/bin/python -m bench.identification_groups --records DATA --pools FOLDER

Each record's models are trained once, as far as any variant asks for them, and all variants choose
among these. FOLDER keeps them between calls. The rule and what came of it:
docs/research/identification-smallest-search.md.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import beside_arx, identification_systems, six_plants, unseen_systems, vector_systems
from bench.identification_stages import deciding_records
from forecast.identification import Experiment, Model
from forecast.identification.automatic import _describe_net
from forecast.identification.delays import find_held_back_rows, take_out_drift
from forecast.identification.experiment import (
    Standardization,
    enlarge_inputs,
    normalise_weights,
    step_inputs,
)
from forecast.identification.loops import median_run
from forecast.identification.member import (
    HOPELESS,
    TIED_BLOCKS,
    UNSEEN_ROWS,
    Member,
    _integrates,
    count_start_rows,
    keep_best_candidates,
    keep_best_fits,
    leave_out_farther,
    leave_out_lost,
    list_hopeless,
    mean_errors,
    stay_within,
    tabulate_errors,
    widen_bounds,
)
from forecast.identification.narx import Narx
from forecast.identification.search import SMALL_ERROR, _Search
from forecast.identification.search_settings import (
    CANDIDATES,
    Candidate,
    SearchSettings,
    cut_to_measured,
    limit_folds,
    limit_iterations,
    limit_rows,
)
from forecast.system.errors import ForecastError
from forecast.system.workers import limit_to_one_thread

FIRST_ROW = 20  # of the test that counts
ROWS = 600
GROUPS = (
    "sizes",
    "one signal",
    "ARX",
    "early",
    "good",
    "tied",
    "delays",
    "straying",
    "unseen",
    "linear",
    "best fits",
    "snapshots",
)
Record = tuple[Experiment, Experiment, np.ndarray, np.ndarray]
"""To identify; to simulate, its y without noise, and the unit of the error of each output."""


def list_records(folder: Path, draw: int) -> dict[str, Callable[[], Record]]:
    """The records that decide."""

    def simulated(name: str) -> Record:
        record, test, unit = identification_systems.simulate_records(name, draw)
        return record, test, test.y, np.full(test.y.shape[1], unit)

    def measured(make: Callable[[], tuple[Experiment, Experiment, float]]) -> Record:
        record, test, unit = make()
        return record, test, test.y, np.full(test.y.shape[1], unit)

    def middle(simulate: Callable[[str, int], Record], name: str) -> Record:
        record, test, truth, unit = simulate(name, draw)
        first = max(len(record) - ROWS, 0) // 2
        return record.part(slice(first, first + ROWS)), test, truth, unit

    makers: dict[str, Callable[[], Record]] = {}
    for name in identification_systems.TWENTY | identification_systems.TEN_MORE:
        makers[name] = lambda name=name: simulated(name)
    for name, make in deciding_records(folder).items():
        makers[name] = lambda make=make: measured(make)
    for name in unseen_systems.EIGHT:
        makers[name] = lambda name=name: middle(unseen_systems.simulate_records, name)
    for name in six_plants.SIX:
        makers[name] = lambda name=name: middle(six_plants.simulate_records, name)
    return makers


def list_odd_records(draw: int) -> dict[str, Callable[[], Record]]:
    """Short and odd records, arms and columns, for which some rules were made."""

    def with_unit(halves: tuple[Experiment, Experiment]) -> Record:
        record, test = halves
        return record, test, test.y, np.nanstd(test.y, axis=0)

    makers: dict[str, Callable[[], Record]] = {}
    for name, system in beside_arx.TEN.items():
        makers[name] = lambda system=system: with_unit(beside_arx.simulate_records(system, draw))
    for name, plant in vector_systems.PLANTS.items():
        if plant.inputs * plant.outputs < 7 or name == "restless column":
            makers[name] = lambda plant=plant: with_unit(
                vector_systems.simulate_halves(plant, draw)
            )
    return makers


class Pool:
    """The models of one record, trained as far as they are asked for, with their seconds."""

    def __init__(self, record: Record, seed: int = 0) -> None:
        first, self.test, self.truth, self.unit = record
        experiments = normalise_weights([first])
        settings = limit_folds(SearchSettings(), experiments)
        experiments, self.drift = take_out_drift(experiments)
        self.scaling = Standardization.fit(experiments)
        scaled, start = cut_to_measured(
            [self.scaling.scale(e) for e in experiments], settings.start
        )
        self.scaled = scaled
        self.held_back = find_held_back_rows(limit_rows(scaled, start), settings.longest_dead_time)
        line = Narx(
            len(self.held_back),
            scaled[0].y.shape[1],
            (1,),
            (0,),
            hidden=0,
            held_back_rows=self.held_back,
        )
        aligned = [e.with_arrays(u=line.past_inputs(e.u, 0)) for e in scaled]
        settings = replace(settings, start=start)
        self.search = _Search(aligned, line.find_origin(self.scaling), settings, seed, None, None)
        self.models: dict[tuple, Member | None] = {}
        self.seconds: dict[tuple, float] = {}
        self.kept_in: dict[tuple, bool] = {}
        self.runs: dict[tuple, np.ndarray] = {}
        self.used: set[tuple] = set()

    def get(self, *key: object) -> Member | None:
        """The model of (stage, candidate, fold), None where it cannot be trained or is lost."""
        if key not in self.models:
            begin = time.thread_time()
            self.models[key] = self._train(*key)
            self.seconds[key] = time.thread_time() - begin
        self.used.add(key)
        return self.models[key]

    def _train(self, stage: str, candidate: Candidate, fold: int) -> Member | None:
        search = self.search
        if stage == "fold":
            others = [each for each in search.nets if each != candidate]
            begun = search._begin_models(fold, search.nets, others)
            trained = search._train_in_folds(begun, search.settings.fold_iterations)
            return trained[0] if trained else None
        if stage == "ripe":
            before = self.get("fold", candidate, fold)
            trained = search._train_in_folds([before], search.settings.refit_iterations[0])
            return trained[0] if trained else None
        if stage in ("further", "further ripe"):
            before = self.get("ripe" if stage.endswith("ripe") else "fold", candidate, fold)
            return search._train_further([before])[0]
        before = self.get("further" + stage.removeprefix("last"), candidate, fold)
        iterations = limit_iterations(search.experiments, search.settings.refit_iterations[1])
        return search.trainer.train_further(before, search.experiments, iterations)

    def key_of(self, member: Member) -> tuple:
        return next(key for key, model in self.models.items() if model is member)

    def train_on(self, members: Sequence[Member], stage: str) -> list[Member]:
        """The members trained on, from their stage to the next."""
        after = []
        for member in members:
            key = self.key_of(member)
            ripe = " ripe" if key[0].endswith("ripe") else ""
            after.append(self.get(stage + ripe, member.candidate, member.fold))
        return after

    def stay(
        self, members: Sequence[Member], trial: str, u: np.ndarray, aligned: bool
    ) -> np.ndarray:
        """(members,): which of them stay within their bounds."""
        keys = [(self.key_of(member), trial, aligned) for member in members]
        todo = [n for n, key in enumerate(keys) if key not in self.kept_in]
        if todo:
            tried = [members[n] if aligned else self.delay(members[n]) for n in todo]
            experiments = self.search.searched if aligned else self.scaled
            inside = stay_within(tried, experiments, u, self.search.settings.start)
            self.kept_in |= {keys[n]: bool(s) for n, s in zip(todo, inside, strict=True)}
        return np.array([self.kept_in[key] for key in keys])

    def delay(self, member: Member) -> Member:
        net = replace(member.net, inputs=len(self.held_back), held_back_rows=self.held_back)
        return replace(member, net=net)

    def error(self, members: Sequence[Member], widen: bool) -> float:
        """Of the median of the members over the test, in units; infinite where it is lost."""
        chosen = [self.delay(member) for member in members]
        widen = widen and all(member.net.is_linear for member in chosen)
        settings = self.search.settings
        rows = count_start_rows(chosen, self.scaled, settings.start, settings.most_start)
        keys = [(self.key_of(member), rows, widen) for member in members]
        for member, key in zip(chosen, keys, strict=True):
            if key not in self.runs:
                m = widen_bounds(member, self.scaled) if widen else member
                net = _describe_net(m, rows)
                model = Model(net, m.net.unflatten(m.weights), self.scaling)
                self.runs[key] = np.full(self.truth.shape, np.inf)
                with suppress(ForecastError):
                    self.runs[key] = model.simulate(self.test.u, self.test.y[: model.start]).y
        run = median_run(np.array([self.runs[key] for key in keys]))
        squares = np.nanmean((run - self.truth)[FIRST_ROW:] ** 2, axis=0)
        return float(np.mean(np.sqrt(squares) / self.unit))


def choose(pool: Pool, groups: frozenset[str], acted: dict[str, int]) -> list[Member]:
    """The models that the search with these groups chooses; `acted` counts what each changed."""
    kinds = {"ARX": "arx", "one signal": "one signal"}
    left_out = {kind for group, kind in kinds.items() if group not in groups}
    candidates = [c for c in CANDIDATES if c.kind not in left_out]
    if "sizes" not in groups:
        candidates = [c for c in candidates if c.kind != "states" or c.hidden == 4]
    if "no delays" in groups:
        candidates = [c for c in candidates if c.kind != "delays"]
    settings = pool.search.settings
    members: list[Member] = []
    hopeless: list[Candidate] = []
    for fold in range(settings.folds):
        trained = [pool.get("fold", c, fold) for c in candidates if c not in hopeless]
        members += [m for m in trained if m is not None]
        if fold and fold < settings.folds - 1 and "early" in groups:
            far = list_far(members, "delays" in groups)
            acted["early"] = acted.get("early", 0) + len(far)
            hopeless += far
            members = [m for m in members if m.candidate not in hopeless]
    if "delays" in groups:
        members = test_net_on_delays(pool, members, acted)
    if "straying" in groups:
        members = leave_out_straying(pool, members, acted, "straying in folds")
    if "early" in groups:
        members = keep_best_candidates(members, max((len(candidates) + 1) // 2, 2))
    best = keep_best_candidates(members, 1)
    trained = pool.train_on(best, "further")
    others = [m for m in members if m.candidate != best[0].candidate]
    good = list_good([*trained, *others], groups, acted)
    trained += pool.train_on([m for m in others if m.candidate in good], "further")
    if "delays" in groups:
        close = leave_out_farther(trained)
        acted["farther"] = acted.get("farther", 0) + len(trained) - len(close)
        trained = close
    if "straying" in groups:
        trained = leave_out_straying(pool, trained, acted, "straying on all rows")
    if "best fits" in groups:
        following = leave_out_lost(trained)
        acted["lost"] = acted.get("lost", 0) + len(trained) - len(following)
        trained = following
    linear = [m for m in trained if m.net.is_linear]
    integrates = [_integrates(m) for m in linear if m.net.states]
    if "linear" in groups and sum(integrates) > len(integrates) / 2:
        acted["linear"] = acted.get("linear", 0) + len(trained) - len(linear)
        trained = linear
    if "best fits" in groups:
        trained = keep_best_fits(trained)
    last = pool.train_on(trained, "last")
    if "best fits" in groups:
        following = leave_out_lost(last)
        acted["lost last"] = acted.get("lost last", 0) + len(last) - len(following)
        last = following
    chosen = [*trained, *last] if "snapshots" in groups else last
    return keep_plausible(pool, chosen, groups, acted) if "unseen" in groups else chosen


def list_far(members: Sequence[Member], beside_delays: bool) -> list[Candidate]:
    if beside_delays:
        return list_hopeless(members)
    means = mean_errors(members)
    return [c for c, error in means.items() if error > HOPELESS * min(means.values())]


def list_good(
    members: list[Member], groups: frozenset[str], acted: dict[str, int]
) -> list[Candidate]:
    candidates, errors = tabulate_errors(members)
    means = mean_errors(members)
    best = min(means, key=means.__getitem__)
    if "delays" in groups and best.kind == "delays" and any(c.kind != "delays" for c in candidates):
        return candidates
    ratios = [m.held_out_rmse / m.train_rmse for m in members if m.candidate == best]
    limit = (max(1.0, np.median(ratios)) if "good" in groups else 1.0) * means[best]
    tied = (errors <= errors[candidates.index(best)]).mean(axis=1) >= TIED_BLOCKS
    chosen = [c for c in candidates if means[c] <= limit]
    if "tied" in groups:
        both = [c for c, t in zip(candidates, tied, strict=True) if t or c in chosen]
        acted["tied"] = acted.get("tied", 0) + len(both) - len(chosen)
        chosen = both
    acted["good"] = acted.get("good", 0) + len(chosen) - 1
    return chosen


def test_net_on_delays(pool: Pool, members: list[Member], acted: dict[str, int]) -> list[Member]:
    others = [m for m in members if m.candidate.kind != "delays"]
    best = keep_best_candidates(members, 1)
    if not others:
        return members
    if best[0].candidate.kind != "delays":
        return others
    acted["net on delays best in folds"] = 1
    search = pool.search
    for m in best:
        one_step = search.trainer.one_step_rmse(m, search.folds[m.fold].training)
        if m.train_rmse > max(one_step, SMALL_ERROR):
            return others
    acted["net on delays passes first"] = 1
    rivals = keep_best_candidates(others, 1)
    ripe = []
    for fold in range(search.settings.folds):
        both = [m for m in [*rivals, *best] if m.fold == fold]
        trained = [pool.get("ripe", m.candidate, fold) for m in both]
        trained = [m for m in trained if m is not None]
        if not trained:
            return others
        ahead = min(trained, key=lambda m: m.held_out_rmse)
        if ahead.candidate.kind != "delays":
            return others
        ripe.append(ahead)
    acted["net on delays passes both"] = 1
    return others + ripe


def leave_out_straying(
    pool: Pool, members: list[Member], acted: dict[str, int], name: str
) -> list[Member]:
    u = pool.search.searched[0].u[: 2 * UNSEEN_ROWS]
    stay = pool.stay(members, "backwards", u[::-1], aligned=True)
    candidates = np.array([member.candidate for member in members])
    staying = [m for m in members if stay[candidates == m.candidate].mean() > 0.5]
    acted[name] = acted.get(name, 0) + len(members) - len(staying or members)
    return staying or members


def keep_plausible(
    pool: Pool, members: list[Member], groups: frozenset[str], acted: dict[str, int]
) -> list[Member]:
    rows = max(UNSEEN_ROWS, 5 * pool.search.settings.start)
    u = pool.scaled[0].u[: 2 * rows]
    unseen = {
        "no backwards": u[::-1],
        "no larger": enlarge_inputs(u, 1.1),
        "random steps": step_inputs(u, rows),
    }
    unseen = {name: v for name, v in unseen.items() if name not in groups}
    trials = [unseen, {"1.5": enlarge_inputs(u, 1.5)}, {"2.0": enlarge_inputs(u, 2.0)}]
    stay = np.ones(len(members), bool)
    for inputs in trials:
        still = stay.copy()
        for name, v in inputs.items():
            passes = pool.stay(members, name, v, aligned=False)
            acted[name] = acted.get(name, 0) + int(np.count_nonzero(still & ~passes))
            still &= passes
        if still.mean() <= 0.5:
            break
        stay = still
    return [member for member, stays in zip(members, stay, strict=True) if stays]


def evaluate(pool: Pool, groups: frozenset[str]) -> tuple[float, float, str, dict[str, int]]:
    """The error, the CPU seconds of the training, the candidates chosen, and what acted."""
    pool.used = set()
    acted: dict[str, int] = {}
    chosen = choose(pool, groups, acted)
    error = pool.error(chosen, "unseen" in groups)
    seconds = sum(pool.seconds[key] for key in pool.used)
    kinds = dict.fromkeys(
        f"{m.candidate.kind} {m.candidate.order},{m.candidate.hidden}" for m in chosen
    )
    return error, seconds, " + ".join(kinds), acted


def parse(variant: str) -> frozenset[str]:
    """The groups of a variant, "early" in all: "early", "early+sizes+good", "all-tied-straying",
    "all-delays+no delays", "all+no backwards+no larger" (inputs that "unseen" had,
    and has no more).
    """
    first, *added = variant.split("+")
    whole, *left_out = first.split("-")
    groups = frozenset(GROUPS if whole == "all" else (whole,)) - frozenset(left_out)
    return groups | frozenset(added)


def list_variants() -> list[str]:
    """The smallest search, whose seconds the rule "early" saves; with one group more, alone and
    beside the first two that come to mind; the whole; the whole without one group.
    """
    rest = [group for group in GROUPS if group != "early"]
    beginnings = ["early", "early+sizes", "early+good", "early+sizes+good"]
    more = [f"early+sizes+good+{group}" for group in rest if group not in ("sizes", "good")]
    less = [f"all-{group}" for group in rest]
    joint = ["all-delays+no delays", "all-tied-straying", "all-ARX-one signal-delays+no delays"]
    return list(dict.fromkeys(["all", *beginnings, *more, *less, *joint]))


def main() -> None:
    """Print a line for each record and variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--pools", type=Path, required=True)
    parser.add_argument("--draw", type=int, default=9701)
    parser.add_argument("--odd", action="store_true", help="short and odd records instead")
    parser.add_argument("--only", default="", help="records whose name has this")
    parser.add_argument("--skip", type=int, default=0, help="the first so many records")
    parser.add_argument("--variants", default="", help="separated by ;")
    arguments = parser.parse_args()
    variants = arguments.variants.split(";") if arguments.variants else list_variants()
    makers = list_records(arguments.records, arguments.draw)
    if arguments.odd:
        makers = list_odd_records(arguments.draw)
    # in random order, so that those that time allows are of all kinds
    for name in np.random.default_rng(0).permutation(list(makers))[arguments.skip :].tolist():
        if arguments.only not in name:
            continue
        file = arguments.pools / f"{arguments.draw} {name}.pickle"
        with limit_to_one_thread():
            pool = pickle.loads(file.read_bytes()) if file.exists() else Pool(makers[name]())
            for variant in variants:
                error, seconds, chosen, acted = evaluate(pool, parse(variant))
                shown = {key: count for key, count in acted.items() if count}
                print(
                    f"{name}\t{variant}\t{error:.5g}\t{seconds:.2f}\t{chosen}\t{shown}", flush=True
                )
            file.write_bytes(pickle.dumps(pool))


if __name__ == "__main__":
    main()
