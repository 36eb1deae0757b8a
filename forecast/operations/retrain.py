"""`forecast retrain`: fetch data, decide whether a challenger is due, make one in a work tree, ask
the gate, and promote.

`reach_decision` does everything up to the gate's verdict, `rehearse` stops there, `retrain` also
carries the decision out. Every step can be repeated, and the champion changes last. Nothing is
tuned or trained unless a challenger is due, and the same data, configuration and revision are
decided only once. Only one retraining of a dataset runs at a time, on all machines that share the
store; `rehearse` asks for the lock of this machine alone.

There is no time limit on the whole. A killed or interrupted retraining leaves its work tree
(`worktree`), where the next one goes on: finished studies and fits are taken from the cache, the
outs of the stage that ran are made again (`repro`), and a decision that was written down is carried
out (`pending`). Its locks end with its process. Hooks are told "failed" of an interrupt or SIGTERM,
and nothing of a kill -9 (`cli.operation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.comparison.longrun import Spacing
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.operation import Retraining, load_retraining
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, snapshots
from forecast.data.calendars import Calendar, known_from
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.operations import challenger, champion, evidence, gate, pending, worktree
from forecast.operations.challenger import RetrainingJob
from forecast.operations.champion import Champion
from forecast.operations.records import (
    ChampionCard,
    Decision,
    GateNumbers,
    Shift,
    not_due_file,
    read_decisions,
)
from forecast.operations.registry import repair_registry, selected_candidate
from forecast.operations.worktree import WorkTree
from forecast.system import files
from forecast.system.errors import plural
from forecast.tracking import database_file, hold_store_lock, tracking_store


@dataclass(frozen=True)
class JudgedChallenger:
    """A decision that is not carried out yet."""

    decision: Decision
    rules: Retraining
    tree: WorkTree
    ledger: evidence.Ledger | None = None
    """The ledger with the new losses, to be saved; None without a champion or challenger."""
    candidate: Path | None = None
    """The folder of the challenger; None where none was made."""
    card: ChampionCard | None = None
    """The challenger's card."""


def retrain(job: RetrainingJob) -> Decision:
    """Fetch, train a challenger where one is due, judge it and carry the decision out; or finish
    the decision of a killed run.

    Raises `BusyError` while another retraining of the dataset runs, on this machine or on one that
    shares the store.
    """
    with _machine_lock(job), _team_lock(job):
        if (job.folder / "pending" / "decision.json").exists():
            job.log_step("unfinished")
            return _finish(job)
        judged = reach_decision(job)
        if judged.decision.word == "not due":
            judged.decision.write(not_due_file(job.root, job.dataset))
            return judged.decision
        if judged.ledger is not None:
            judged.ledger.write(job.folder / "ledger.json")
        if judged.decision.promotes:
            assert judged.candidate is not None and judged.card is not None
            job.log_step("write down")
            pending.write_pending(job.root, judged.decision, judged.candidate, judged.card)
            final = _finish(job)
        else:
            job.log_step("record")
            pending.conclude(job.root, judged.decision, now=job.now, tracking_uri=job.tracking_uri)
            final = judged.decision
        worktree.prune_tree(job.root, judged.tree, snapshots=judged.rules.keep_snapshots)
        return final


def rehearse(job: RetrainingJob) -> Decision:
    """The decision that `retrain` would make; nothing is recorded, registered or promoted.

    What it fetches, tunes and trains stays in the work tree: `predicting` and `status` read the
    data from there (`worktree.newest_data_root`). A pending decision is left pending.
    """
    with _machine_lock(job):
        return reach_decision(job).decision


def reach_decision(job: RetrainingJob) -> JudgedChallenger:
    """Do everything up to the gate's verdict in the dataset's work tree, and record nothing.

    Tuning and training run only where a challenger is due. "not due" is also what was decided
    before.
    """
    job.log_step("work tree")
    tree = challenger.open_tree(job)
    settings = load_dataset(job.dataset, tree.paths.configs)
    rules = load_retraining(job.dataset, tree.paths.configs)
    job.log_step("fetch")
    challenger.fetch_data(job, tree)
    job.log_step("check")
    frame, _ = preparation.check_data(job.dataset, settings, root=tree.path)
    config_hash = challenger.digest_configuration(tree, settings)
    draft = _draft_decision(job, tree, frame, config_hash)
    for earlier in read_decisions(job.root, job.dataset):
        if earlier.key == draft.key:
            reason = f"the same was decided at {earlier.at}: {earlier.word} ({earlier.reason})"
            not_due = {
                "word": "not due",
                "reason": reason,
                "at": draft.at,
                "unused_edits": tree.unused_edits,
            }
            return JudgedChallenger(earlier.model_copy(update=not_due), rules, tree)
    job.log_step("drift")
    current = _load_champion(job)
    panel = from_frame(frame, job.dataset, settings.task)
    shifts = _measure_drift(current, panel, settings, rules)
    new_steps = _count_new_steps(job, current, panel.steps, settings.calendar)
    due = evidence.judge_due(
        current.card if current else None,
        shifts,
        settings,
        rules,
        as_of=known_from(settings.calendar, [panel.newest])[0],
        now=job.now,
        new_steps=new_steps,
    )
    draft = draft.model_copy(
        update={
            "champion": current.version if current else None,
            "served_version": champion.read_aliases(job.root, job.dataset).get("champion"),
            "due": due.reasons,
            "drift": tuple(shifts),
            "numbers": GateNumbers(age_days=due.age_days, new_steps=new_steps),
        }
    )
    if not due.reasons:
        age = f"champion {plural(due.age_days or 0, 'day')} old"
        state = due.ageing_reason or f"{age}, {_describe_no_drift(shifts)}"
        reason = f"{state}, {plural(new_steps, 'new step')}"
        return JudgedChallenger(draft.model_copy(update={"reason": reason}), rules, tree)
    splits = evidence.gate_splits(
        frame["ds"], job.dataset, settings, fresh_steps=rules.count_fresh_steps(settings)
    )
    challenger.provide_tuned_values(job, tree, config_hash)
    challenger.write_configuration(tree, job.dataset, splits)
    job.log_step("challenger")
    # not stored in DVC's shared cache, which daily challengers would fill
    challenger.run_stages(job, tree, f"compare@{job.dataset}", "--no-commit")
    return _ask_gate(job, tree, settings, draft, current, due.ageing_reason, rules)


def _draft_decision(
    job: RetrainingJob, tree: WorkTree, frame: pd.DataFrame, config_hash: str
) -> Decision:
    """A decision with its key and all that the key depends on, before anything is judged.

    Its word is "not due" without a reason until then.
    """
    pointer = snapshots.read_pointer(tree.path, job.dataset)
    draft = Decision(
        key="",
        dataset=job.dataset,
        as_of=pointer.as_of,
        data_sha256=pointer.sha256,
        data_end=pd.Timestamp(frame["ds"].max()).isoformat(),
        config_hash=config_hash,
        revision=tree.revision,
        at=job.now.floor("s").isoformat(),
        word="not due",
        reason="",
        unused_edits=tree.unused_edits,
    )
    return draft.model_copy(update={"key": pending.decision_key(draft)})


def _ask_gate(
    job: RetrainingJob,
    tree: WorkTree,
    settings: Dataset,
    draft: Decision,
    current: Champion | None,
    ageing_reason: str,
    rules: Retraining,
) -> JudgedChallenger:
    """Let the gate decide on the challenger that was made in the work tree."""
    candidate, card = selected_candidate(
        tree.path, job.dataset, now=job.now, revision=tree.revision
    )
    data = evidence.GateData.read(tree.path, job.dataset)
    job.log_step("gate")
    rival, seen_until = _rival_model(job, tree, current, settings, card, data.panel.by_id.keys())
    losses = evidence.fresh_losses(data, load_trained_ensemble(candidate), rival, seen_until)
    ledger = None
    gathered = None
    if current is not None:
        # missing where the champion's recipe could not be fitted again
        losses["champion"] = losses.get("champion", np.nan)
        ledger = evidence.Ledger.read(job.folder / "ledger.json")
        ledger.add(losses, version=current.version, config_hash=draft.config_hash, at=job.now)
        gathered = ledger.evidence(version=current.version, config_hash=draft.config_hash)
    steps = Spacing(horizon=settings.horizon, step_size=settings.step_size)
    verdict = gate.decide(
        gate.FreshLosses(**{str(name): column.to_numpy() for name, column in losses.items()}),
        gathered,
        steps,
        gate.GateRules(
            alpha=rules.alpha, margin=rules.margin, min_fresh=rules.min_gate_origins(settings)
        ),
        ageing_reason=ageing_reason,
        is_same_recipe=current is not None
        and challenger.champion_recipe(current).trains_like(
            RunRecord.read(candidate / "record.json")
        ),
    )
    numbers = verdict.numbers.model_copy(
        update={
            "age_days": draft.numbers.age_days,
            "new_steps": draft.numbers.new_steps,
            "refitted_champion": int(rival is not None and len(seen_until) == 1),
        }
    )
    decided = draft.model_copy(
        update={
            "word": verdict.word,
            "reason": verdict.reason,
            "candidate": card.candidate,
            "numbers": numbers,
        }
    )
    return JudgedChallenger(decided, rules, tree, ledger, candidate, card)


def _rival_model(
    job: RetrainingJob,
    tree: WorkTree,
    current: Champion | None,
    settings: Dataset,
    card: ChampionCard,
    series: Set[str],
) -> tuple[Ensemble | None, list[pd.Timestamp]]:
    """The challenger's rival at the gate, and the times of the last targets that both have used.

    The rival is the champion as it serves where it has not seen the challenger's fresh origins, has
    the same task and knows all `series`. Otherwise it is the champion's recipe, fitted again at the
    challenger's cutoff. It is None where that fit fails, and without a champion.
    """
    challenger_end = pd.Timestamp(card.last_target_used)
    if current is None:
        return None, [challenger_end]
    champion_end = pd.Timestamp(current.card.last_target_used)
    has_same_task = evidence.has_same_task(current.ensemble, settings.task)
    knows_all = series <= current.ensemble.scaling.centre.keys()
    if champion_end <= challenger_end and has_same_task and knows_all:
        return current.ensemble, [challenger_end, champion_end]
    folder = job.folder / "rival"
    record = job.folder / "rival.json"
    challenger.champion_recipe(current).write(record)
    challenger.run_refit(
        tree.path, job.dataset, record, folder, on="gate", environment=job.stage_environment
    )
    has_failed = RunRecord.read(folder / "record.json").has_failed
    return (None if has_failed else load_trained_ensemble(folder)), [challenger_end]


def _measure_drift(
    current: Champion | None, panel: Panel, settings: Dataset, rules: Retraining
) -> list[Shift]:
    """The drift of the data and of the champion's errors; empty without a champion."""
    if current is None:
        return []
    fresh_steps = rules.count_fresh_steps(settings)
    shifts = evidence.measure_shifts(panel, current.card, rules, fresh_steps=fresh_steps)
    if evidence.has_same_task(current.ensemble, settings.task):
        live = evidence.measure_live_error(
            current.ensemble, current.card, panel, rules, fresh_steps=fresh_steps
        )
        if live is not None:
            shifts.append(live)
    return shifts


def _describe_no_drift(shifts: Sequence[Shift]) -> str:
    """That nothing drifted, or that the champion's errors could not be compared."""
    if any(shift.live_error is not None for shift in shifts):
        return "no drift"
    return "its errors cannot be compared (too few new rows, or another horizon or columns)"


def _count_new_steps(
    job: RetrainingJob, current: Champion | None, times: np.ndarray, calendar: Calendar
) -> int:
    """How many of the steps `times` are later than the newest data of all decisions, or without a
    decision later than the champion's data; all where there is no champion either.

    Without an `as_of`, decisions on rows that are gone since, such as one with a wrong date in the
    future, do not count.
    """
    steps = pd.DatetimeIndex(times)
    newest = steps[-1].isoformat()
    decisions = read_decisions(job.root, job.dataset)
    ends = [each.data_end for each in decisions if job.as_of or each.data_end <= newest]
    if ends:
        return int((steps > pd.Timestamp(max(ends))).sum())
    if current is None:
        return len(steps)
    # compared by when rows became known: `as_of` may be the very time of the first new row
    return int((known_from(calendar, steps) > pd.Timestamp(current.card.as_of)).sum())


def _finish(job: RetrainingJob) -> Decision:
    """Carry out the pending decision of this run or of a killed one."""
    tree = WorkTree(job.folder / "tree", "", ())
    rules = load_retraining(job.dataset, tree.paths.configs)

    def start_refit(candidate: Path, target: Path) -> None:
        challenger.run_refit(
            tree.path,
            job.dataset,
            candidate / "record.json",
            target,
            on="all",
            environment=job.stage_environment,
        )

    return pending.finish_pending(
        job.root,
        job.dataset,
        now=job.now,
        tracking_uri=job.tracking_uri,
        log_step=job.log_step,
        refit=start_refit if rules.after_promotion == "refit" else None,
    )


def _load_champion(job: RetrainingJob) -> Champion | None:
    """The champion, or None where the dataset has none; an error of `champion.load` is raised."""
    if "champion" not in champion.read_aliases(job.root, job.dataset):
        return None
    current = champion.load(job.root, job.dataset)
    if current.notice:
        job.log_step(current.notice)
    return current


@contextmanager
def _team_lock(job: RetrainingJob) -> Iterator[None]:
    """Hold the lock of the dataset's retraining on all machines that share the store.

    Where the store is shared, registry and local store are made to agree first, since other
    machines may have promoted a champion. Raises `BusyError` at once where another machine holds
    the lock, `DamagedError` for a damaged database, into which the challenger could not be
    registered later.
    """
    store = tracking_store(job.root, job.tracking_uri)
    database_file.require_sound(store)
    with hold_store_lock(
        store, f"retrain-{job.dataset}", purpose=f"Retraining {job.dataset!r}", timeout=0.0
    ):
        if not store.owned:
            for done in repair_registry(
                job.root, job.dataset, now=job.now, tracking_uri=job.tracking_uri
            ):
                job.log_step(done)
        yield


@contextmanager
def _machine_lock(job: RetrainingJob) -> Iterator[None]:
    """Hold the lock of the dataset's retraining on this machine, and remove what killed ones left.

    Raises `InputError` for an unknown dataset, `BusyError` while another retraining runs.
    """
    # checked before any folder is made for it
    load_dataset(job.dataset, ProjectPaths.of(job.root).configs)
    lock = ProjectPaths.of(job.root).lock(f"retrain-{job.dataset}")
    with files.hold_lock(lock, purpose=f"Retraining {job.dataset!r}"):
        files.remove_leftovers(job.folder)
        files.clear_scratch()
        yield
