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
from forecast.operations.challenger import Job
from forecast.operations.champion import Champion, Meta
from forecast.operations.decision import Decision
from forecast.operations.evidence import Due, due
from forecast.operations.registry import chosen, repaired
from forecast.operations.worktree import Tree
from forecast.system import files
from forecast.tracking import locks, place


@dataclass(frozen=True)
class Judged:
    """A decision that nothing has been done about.

    Where a challenger was made: the ledger with its fresh origins, not saved yet (None where it had
    no rival), its `candidate` and `meta`.
    """

    decision: Decision
    rules: Retraining
    tree: Tree
    ledger: evidence.Ledger | None = None
    candidate: Path | None = None
    meta: Meta | None = None


def retrain(job: Job) -> Decision:
    """Finish what an earlier run left, then judge a challenger and carry the decision out.

    `BusyError` while another retraining of the dataset runs, on this machine or on one that shares
    the store.
    """
    with _only_one(job), _only_one_among_machines(job):
        job.say("unfinished")
        earlier = _finish(job)
        if earlier is not None:
            return earlier
        judged = judge(job)
        if judged.decision.word == "not due":
            decision.offer_again(job.root, job.dataset, now=job.now, tracking_uri=job.tracking_uri)
            return judged.decision
        if judged.ledger is not None:
            judged.ledger.save()
        if judged.decision.promotes:
            assert judged.candidate is not None and judged.meta is not None
            job.say("write down")
            decision.write_pending(job.root, judged.decision, judged.candidate, judged.meta)
            found = _finish(job)
            assert found is not None
        else:
            job.say("record")
            decision.conclude(job.root, judged.decision, now=job.now, tracking_uri=job.tracking_uri)
            found = judged.decision
        worktree.prune(job.root, judged.tree, snapshots=judged.rules.keep_snapshots)
        return found


def rehearse(job: Job) -> Decision:
    """The decision as `retrain` would make it; nothing is recorded, counted, registered or
    promoted.
    """
    with _only_one(job):
        return judge(job).decision


def judge(job: Job) -> Judged:
    """Everything up to the gate, in the dataset's work tree."""
    job.say("work tree")
    tree = worktree.opened(job.root, job.dataset)
    settings = load_dataset(job.dataset, tree.paths.configs)
    rules = load_retraining(job.dataset, tree.paths.configs)
    config = challenger.tuned(job, tree, settings)
    job.say("fetch")
    challenger.fetch(job, tree)
    job.say("check")
    frame = preparation.check_data(job.dataset, settings, root=tree.path)
    about = _about(job, tree, frame, config)
    known = next((d for d in decision.known(job.root, job.dataset) if d.key == about.key), None)
    if known is not None:
        reason = f"the same was decided at {known.at}: {known.word} ({known.reason})"
        return Judged(
            replace(known, word="not due", reason=reason, unused_edits=tree.unused), rules, tree
        )
    job.say("drift")
    current = _champion(job)
    found, shifts = _due(
        job, current, from_frame(frame, job.dataset, settings.task), settings, rules
    )
    about = replace(
        about,
        champion=current.version if current else None,
        alias=champion.aliases(job.root, job.dataset).get("champion"),
        due=found.reasons,
        drift=tuple(asdict(s) for s in shifts),
    )
    if not found.reasons:
        days, new = (found.numbers.get(name, 0) for name in ("age_days", "new_steps"))
        reason = f"not due: champion {days:g} days old, {new} new steps, no drift"
        return Judged(replace(about, reason=reason, numbers=found.numbers), rules, tree)
    ends = evidence.blocks(frame["ds"], job.dataset, settings, fresh_steps=rules.fresh(settings))
    challenger.begin_with(job, tree, current)
    worktree.configure(tree, job.dataset, ends)
    job.say("challenger")
    # Not committed to the shared cache: challengers of every day would fill it.
    challenger.stages(job, tree, f"compare@{job.dataset}", "--no-commit")
    return _judged(job, tree, about, current, found, rules)


def _about(job: Job, tree: Tree, frame: pd.DataFrame, config: str) -> Decision:
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
        unused_edits=tree.unused,
    )
    return replace(bare, key=decision.key_of(bare))


def _judged(
    job: Job, tree: Tree, about: Decision, current: Champion | None, found: Due, rules: Retraining
) -> Judged:
    settings = load_dataset(job.dataset, tree.paths.configs)
    candidate, meta = chosen(tree.path, job.dataset, now=job.now, revision=tree.revision)
    case = evidence.Case.read(tree.path, job.dataset, settings.task)
    job.say("gate")
    rival, seen = _rival(job, tree, current, settings, meta)
    losses = evidence.fresh(case, ensemble_of(candidate), rival, seen)
    ledger, gathered = None, None
    if current is not None:
        # a recipe that cannot be fitted any more
        losses["champion"] = losses.get("champion", np.nan)
        ledger = evidence.Ledger(job.home / "ledger.json")
        ledger.add(losses, version=current.version, recipe=about.config_hash, at=job.now)
        gathered = ledger.evidence(version=current.version, recipe=about.config_hash)
    steps = Spacing(
        horizon=settings.horizon, season_length=settings.season_length, step_size=settings.step_size
    )
    limits = gate.Rules(rules.alpha, rules.margin, rules.wanted_origins(settings))
    looked_at = gate.Fresh(**{str(name): own.to_numpy() for name, own in losses.items()})
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
    return Judged(about, rules, tree, ledger, candidate, meta)


def _rival(
    job: Job, tree: Tree, current: Champion | None, settings: Dataset, meta: Meta
) -> tuple[Ensemble | None, list[pd.Timestamp]]:
    """What the challenger is current against, and the last targets that the two have used.

    The champion as it serves where it has seen none of the challenger's fresh origins and forecasts
    the same thing; else its recipe, fitted again at the challenger's cutoff; None when that fails.
    """
    last = pd.Timestamp(meta.last_target_used)
    if current is None:
        return None, [last]
    own = pd.Timestamp(current.meta.last_target_used)
    if own <= last and evidence.can_be_judged(current.ensemble, settings.task):
        return current.ensemble, [last, own]
    challenger.recipe_of(current).write(job.home / "rival.json")
    challenger.refit(job, tree, job.home / "rival.json", job.home / "rival", on="gate")
    record = RunRecord.read(job.home / "rival" / "record.json")
    return (None if record.has_failed else ensemble_of(job.home / "rival")), [last]


def _due(
    job: Job, current: Champion | None, panel: Panel, settings: Dataset, rules: Retraining
) -> tuple[Due, list[evidence.Shift]]:
    recent = rules.fresh(settings)
    shifts: list[evidence.Shift] = []
    last = max((d.data_end for d in decision.known(job.root, job.dataset)), default="")
    if current is not None:
        shifts = evidence.shifts(panel, current.meta, rules, recent_steps=recent)
        if evidence.can_be_judged(current.ensemble, settings.task):
            live = evidence.live_error(
                current.ensemble, current.meta, panel, rules, recent_steps=recent
            )
            shifts += [live] if live is not None else []
        last = last or current.meta.as_of
    steps = pd.DatetimeIndex(sorted({moment for series in panel.series for moment in series.ds}))
    new = int((steps > pd.Timestamp(last)).sum()) if last else len(steps)
    meta = current.meta if current is not None else None
    return (
        due(
            meta, shifts, settings, rules, as_of=pd.Timestamp(steps[-1]), now=job.now, new_steps=new
        ),
        shifts,
    )


def _finish(job: Job) -> Decision | None:
    pending = job.home / "pending" / "decision.json"
    if not pending.exists():
        return None
    tree = Tree(job.home / "tree", "", ())
    rules = load_retraining(job.dataset, tree.paths.configs)

    def again(candidate: Path, target: Path) -> None:
        challenger.refit(job, tree, candidate / "record.json", target, on="all")

    return decision.finish_pending(
        job.root,
        job.dataset,
        now=job.now,
        tracking_uri=job.tracking_uri,
        say=job.say,
        refit=again if rules.after_promotion == "refit" else None,
    )


def _champion(job: Job) -> Champion | None:
    """The champion, or None while the dataset has none; a damaged one is an error that says what to
    do.
    """
    if "champion" not in champion.aliases(job.root, job.dataset):
        return None
    found = champion.load(job.root, job.dataset)
    if found.notice:
        job.say(found.notice)
    return found


@contextmanager
def _only_one_among_machines(job: Job) -> Iterator[None]:
    """From here to the last alias; it begins with the champion that the others may have made."""
    where = place(job.root, job.tracking_uri)
    with locks.store_lock(
        where, f"retrain-{job.dataset}", what=f"Retraining {job.dataset!r}", timeout=0.0
    ):
        if not where.owned:
            for done in repaired(job.root, job.dataset, tracking_uri=job.tracking_uri):
                job.say(done)
        yield


@contextmanager
def _only_one(job: Job) -> Iterator[None]:
    # a wrong name leaves no folder behind
    load_dataset(job.dataset, ProjectPaths.of(job.root).configs)
    lock = ProjectPaths.of(job.root).lock(f"retrain-{job.dataset}")
    with files.locked(lock, what=f"Retraining {job.dataset!r}"):
        files.remove_leftovers(job.home)
        files.clear_scratch()
        yield
