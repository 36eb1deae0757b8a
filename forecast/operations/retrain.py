"""`forecast retrain`: fetch, check, decide whether a challenger is due, make one beside the
person's checkout, ask the gate, and move the alias. Every step can be repeated; until the alias
moves, the champion is the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.comparison.longrun import Spacing
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.operation import Retraining, load_retraining
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, snapshots
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord
from forecast.forecaster.ensemble import Ensemble, ensemble_of
from forecast.operations import challenger, champion, decision, evidence, gate, worktree
from forecast.operations.challenger import RetrainingJob
from forecast.operations.champion import Champion, ChampionCard
from forecast.operations.decision import Decision
from forecast.operations.evidence import DueDecision, judge_due
from forecast.operations.registry import repair_registry, selected_candidate
from forecast.operations.worktree import WorkTree
from forecast.system import files
from forecast.tracking import locks, tracking_store


@dataclass(frozen=True)
class JudgedChallenger:
    """A decision that nothing has been done about.

    Where a challenger was made: the ledger with its fresh origins, not saved yet (None where it had
    no rival), its `candidate` and `meta`.
    """

    decision: Decision
    rules: Retraining
    tree: WorkTree
    ledger: evidence.Ledger | None = None
    candidate: Path | None = None
    meta: ChampionCard | None = None


def retrain(job: RetrainingJob) -> Decision:
    """Finish what an earlier run left, then judge a challenger and carry the decision out.

    `BusyError` while another retraining of the dataset runs, on this machine or on one that shares
    the store.
    """
    with _machine_lock(job), _team_lock(job):
        job.log_step("unfinished")
        earlier = _finish(job)
        if earlier is not None:
            return earlier
        judged = judge(job)
        if judged.decision.word == "not due":
            decision.log_unlogged(job.root, job.dataset, now=job.now, tracking_uri=job.tracking_uri)
            return judged.decision
        if judged.ledger is not None:
            judged.ledger.save()
        if judged.decision.promotes:
            assert judged.candidate is not None and judged.meta is not None
            job.log_step("write down")
            decision.write_pending(job.root, judged.decision, judged.candidate, judged.meta)
            found = _finish(job)
            assert found is not None
        else:
            job.log_step("record")
            decision.conclude(job.root, judged.decision, now=job.now, tracking_uri=job.tracking_uri)
            found = judged.decision
        worktree.prune_tree(job.root, judged.tree, snapshots=judged.rules.keep_snapshots)
        return found


def rehearse(job: RetrainingJob) -> Decision:
    """The decision as `retrain` would make it; nothing is recorded, counted, registered or
    promoted.
    """
    with _machine_lock(job):
        return judge(job).decision


def judge(job: RetrainingJob) -> JudgedChallenger:
    """Everything up to the gate, in the dataset's work tree."""
    job.log_step("work tree")
    tree = worktree.open_tree(job.root, job.dataset)
    settings = load_dataset(job.dataset, tree.paths.configs)
    rules = load_retraining(job.dataset, tree.paths.configs)
    config = challenger.provide_tuned_values(job, tree, settings)
    job.log_step("fetch")
    challenger.fetch_data(job, tree)
    job.log_step("check")
    frame = preparation.check_data(job.dataset, settings, root=tree.path)
    about = _decision_inputs(job, tree, frame, config)
    known = next(
        (d for d in decision.read_decisions(job.root, job.dataset) if d.key == about.key), None
    )
    if known is not None:
        reason = f"the same was decided at {known.at}: {known.word} ({known.reason})"
        return JudgedChallenger(
            replace(known, word="not due", reason=reason, unused_edits=tree.unused_edits),
            rules,
            tree,
        )
    job.log_step("drift")
    current = _champion(job)
    found, shifts = _judge_due(
        job, current, from_frame(frame, job.dataset, settings.task), settings, rules
    )
    about = replace(
        about,
        champion=current.version if current else None,
        served_version=champion.read_aliases(job.root, job.dataset).get("champion"),
        due=found.reasons,
        drift=tuple(asdict(s) for s in shifts),
    )
    if not found.reasons:
        days, new = (found.numbers.get(name, 0) for name in ("age_days", "new_steps"))
        reason = f"not due: champion {days:g} days old, {new} new steps, no drift"
        return JudgedChallenger(replace(about, reason=reason, numbers=found.numbers), rules, tree)
    ends = evidence.gate_splits(
        frame["ds"], job.dataset, settings, fresh_steps=rules.gate_steps(settings)
    )
    challenger.provide_warm_weights(job, tree, current)
    worktree.write_configuration(tree, job.dataset, ends)
    job.log_step("challenger")
    # Not committed to the shared cache: challengers of every day would fill it.
    challenger.run_stages(job, tree, f"compare@{job.dataset}", "--no-commit")
    return _judge_challenger(job, tree, about, current, found, rules)


def _decision_inputs(
    job: RetrainingJob, tree: WorkTree, frame: pd.DataFrame, config: str
) -> Decision:
    pointer = snapshots.read_pointer(tree.path, job.dataset)
    bare = Decision(
        key="",
        dataset=job.dataset,
        as_of=pointer.as_of,
        data_sha256=pointer.sha256,
        data_end=pd.Timestamp(frame["ds"].max()).isoformat(),
        config_hash=config,
        revision=tree.revision,
        strategy=job.strategy,
        at=job.now.floor("s").isoformat(),
        word="not due",
        reason="",
        unused_edits=tree.unused_edits,
    )
    return replace(bare, key=decision.decision_key(bare))


def _judge_challenger(
    job: RetrainingJob,
    tree: WorkTree,
    about: Decision,
    current: Champion | None,
    found: DueDecision,
    rules: Retraining,
) -> JudgedChallenger:
    settings = load_dataset(job.dataset, tree.paths.configs)
    candidate, meta = selected_candidate(
        tree.path, job.dataset, now=job.now, revision=tree.revision
    )
    case = evidence.GateData.read(tree.path, job.dataset, settings.task)
    job.log_step("gate")
    rival, seen = _rival_model(job, tree, current, settings, meta)
    losses = evidence.fresh_losses(case, ensemble_of(candidate), rival, seen)
    ledger, gathered = None, None
    if current is not None:
        # a recipe that cannot be fitted any more
        losses["champion"] = losses.get("champion", np.nan)
        ledger = evidence.Ledger(job.folder / "ledger.json")
        ledger.add(losses, version=current.version, recipe=about.config_hash, at=job.now)
        gathered = ledger.evidence(version=current.version, recipe=about.config_hash)
    steps = Spacing(
        horizon=settings.horizon, season_length=settings.season_length, step_size=settings.step_size
    )
    limits = gate.GateRules(rules.alpha, rules.margin, rules.min_gate_origins(settings))
    looked_at = gate.FreshLosses(**{str(name): own.to_numpy() for name, own in losses.items()})
    verdict = gate.decide(looked_at, gathered, steps, limits, ageing=found.ageing)
    about = replace(
        about,
        word=verdict.word,
        reason=verdict.reason,
        candidate=meta.candidate,
        numbers={
            **found.numbers,
            **verdict.numbers,
            "refitted_champion": int(rival is not None and len(seen) == 1),
        },
    )
    return JudgedChallenger(about, rules, tree, ledger, candidate, meta)


def _rival_model(
    job: RetrainingJob,
    tree: WorkTree,
    current: Champion | None,
    settings: Dataset,
    meta: ChampionCard,
) -> tuple[Ensemble | None, list[pd.Timestamp]]:
    """What the challenger is current against, and the last targets that the two have used.

    The champion as it serves where it has seen none of the challenger's fresh origins and forecasts
    the same thing; else its recipe, fitted again at the challenger's cutoff; None when that fails.
    """
    last = pd.Timestamp(meta.last_target_used)
    if current is None:
        return None, [last]
    own = pd.Timestamp(current.card.last_target_used)
    if own <= last and evidence.has_same_task(current.ensemble, settings.task):
        return current.ensemble, [last, own]
    challenger.champion_recipe(current).write(job.folder / "rival.json")
    challenger.run_refit(job, tree, job.folder / "rival.json", job.folder / "rival", on="gate")
    record = RunRecord.read(job.folder / "rival" / "record.json")
    return (None if record.has_failed else ensemble_of(job.folder / "rival")), [last]


def _judge_due(
    job: RetrainingJob, current: Champion | None, panel: Panel, settings: Dataset, rules: Retraining
) -> tuple[DueDecision, list[evidence.Shift]]:
    recent = rules.gate_steps(settings)
    shifts: list[evidence.Shift] = []
    last = max((d.data_end for d in decision.read_decisions(job.root, job.dataset)), default="")
    if current is not None:
        shifts = evidence.measure_shifts(panel, current.card, rules, recent_steps=recent)
        if evidence.has_same_task(current.ensemble, settings.task):
            live = evidence.measure_live_error(
                current.ensemble, current.card, panel, rules, recent_steps=recent
            )
            shifts += [live] if live is not None else []
        last = last or current.card.as_of
    steps = pd.DatetimeIndex(sorted({moment for series in panel.series for moment in series.ds}))
    new = int((steps > pd.Timestamp(last)).sum()) if last else len(steps)
    meta = current.card if current is not None else None
    return (
        judge_due(
            meta, shifts, settings, rules, as_of=pd.Timestamp(steps[-1]), now=job.now, new_steps=new
        ),
        shifts,
    )


def _finish(job: RetrainingJob) -> Decision | None:
    pending = job.folder / "pending" / "decision.json"
    if not pending.exists():
        return None
    tree = WorkTree(job.folder / "tree", "", ())
    rules = load_retraining(job.dataset, tree.paths.configs)

    def again(candidate: Path, target: Path) -> None:
        challenger.run_refit(job, tree, candidate / "record.json", target, on="all")

    return decision.finish_pending(
        job.root,
        job.dataset,
        now=job.now,
        tracking_uri=job.tracking_uri,
        log_step=job.log_step,
        refit=again if rules.after_promotion == "refit" else None,
    )


def _champion(job: RetrainingJob) -> Champion | None:
    """The champion, or None while the dataset has none; a damaged one is an error that says what to
    do.
    """
    if "champion" not in champion.read_aliases(job.root, job.dataset):
        return None
    found = champion.load(job.root, job.dataset)
    if found.notice:
        job.log_step(found.notice)
    return found


@contextmanager
def _team_lock(job: RetrainingJob) -> Iterator[None]:
    """From here to the last alias; it begins with the champion that the others may have made."""
    where = tracking_store(job.root, job.tracking_uri)
    with locks.store_lock(
        where, f"retrain-{job.dataset}", what=f"Retraining {job.dataset!r}", timeout=0.0
    ):
        if not where.owned:
            for done in repair_registry(job.root, job.dataset, tracking_uri=job.tracking_uri):
                job.log_step(done)
        yield


@contextmanager
def _machine_lock(job: RetrainingJob) -> Iterator[None]:
    # a wrong name leaves no folder behind
    load_dataset(job.dataset, ProjectPaths.of(job.root).configs)
    lock = ProjectPaths.of(job.root).lock(f"retrain-{job.dataset}")
    with files.locked(lock, what=f"Retraining {job.dataset!r}"):
        files.remove_leftovers(job.folder)
        files.clear_scratch()
        yield
