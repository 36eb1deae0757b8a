"""Carries out the decision of a retraining: register, promote, refit and record.

    .forecast/retrain/<dataset>/
        pending/                the decision that is being carried out, with the candidate
        decisions/<key>.json    every finished decision

A decision that promotes is written down before anything is done (`write_pending`), so that after a
kill the next retraining can finish it (`finish_pending`); a champion that is kept needs `conclude`
alone.

Why a model was promoted or not stands in three places with the same reason: the file of the
decision and, if MLflow answered, its run there (experiment `<dataset> retraining`), both with the
numbers, and `forecast history`. A retraining that was not due leaves not-due.json alone
(`retrain`), and a promotion by hand only an event of the history (`registry`). After a rollback
nothing keeps the same recipe from being promoted again: only a decision with equal data,
configuration and revision (`decision_key`) is not made twice.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from forecast.config.paths import ProjectPaths
from forecast.operations import champion, registry
from forecast.operations.records import ChampionCard, Decision, HistoryEvent
from forecast.operations.registry import ChampionChangedError, Promotion, Refit
from forecast.system import files
from forecast.system.errors import ForecastError, one_line
from forecast.tracking import tracking_store
from forecast.tracking.writing import log_content


def decision_key(decision: Decision) -> str:
    """The digest of all inputs of a decision; equal inputs are decided only once."""
    return files.sha256_of(
        [
            decision.dataset,
            decision.as_of,
            decision.data_sha256,
            decision.config_hash,
            decision.revision,
        ]
    )[:24]


def write_pending(root: Path, decision: Decision, candidate: Path, card: ChampionCard) -> None:
    """Write the decision and all that `finish_pending` needs, atomically."""
    pending = ProjectPaths.of(root).retraining(decision.dataset) / "pending"
    last_move = champion.find_last_move(root, decision.dataset)
    moment = last_move.at if last_move else ""
    with files.atomic_directory(pending) as folder:
        shutil.copytree(candidate, folder / "candidate")
        card.write(folder / "card.json")
        decision.model_copy(update={"last_move": moment}).write(folder / "decision.json")


def finish_pending(
    root: Path,
    dataset: str,
    *,
    now: pd.Timestamp,
    tracking_uri: str,
    refit: Refit | None,
    log_step: Callable[[str], None],
) -> Decision:
    """Carry out the pending decision and return it as it was concluded; a step that was done before
    changes nothing.

    Where the champion was changed since the gate, here or elsewhere, the decision becomes "kept",
    and its candidate is registered but does not serve. Where the candidate cannot be registered,
    raises an error of the same class, or a `ForecastError`, with the next move, since no other
    decision is made until then.
    refit: fits the recipe again on all data, None to skip that; where it fails, the scored version
    serves and the decision's note says why.
    """
    pending = ProjectPaths.of(root).retraining(dataset) / "pending"
    decision = Decision.read(pending / "decision.json")
    card = ChampionCard.read(pending / "card.json")
    log_step("register")
    try:
        version = registry.register_candidate(
            root, dataset, pending / "candidate", card, tracking_uri=tracking_uri
        )
    except Exception as error:
        kind = type(error) if isinstance(error, ForecastError) else ForecastError
        raise kind(
            f"{pending}: promoting {card.candidate!r}, as decided at {decision.at}, failed"
            f" ({one_line(error)}). Mend this, then `forecast retrain {dataset}` finishes it; or"
            " delete the folder, and its data may be decided on once more."
        ) from error
    log_step("promote")
    decision = decision.model_copy(update={"version": version})
    promotion = Promotion(
        version,
        decision.reason,
        is_judged=True,
        judged_against=decision.served_version or decision.champion,
        last_move=decision.last_move,
    )
    try:
        registry.move_champion(root, dataset, promotion, now, tracking_uri)
    except ChampionChangedError as error:
        decision = decision.model_copy(update={"word": "kept", "reason": str(error)})
    if refit is not None and decision.promotes:
        log_step("refit")
        refitted = pending / "refit"
        try:
            if not (refitted / "borders.json").exists():
                refit(pending / "candidate", refitted)
        except ForecastError as error:
            note = f"the refit on all data failed, the scored version serves: {error}"
            decision = decision.model_copy(update={"note": note})
        else:
            decision = _promote_refit(
                root, decision, refitted, card, now=now, tracking_uri=tracking_uri
            )
    log_step("record")
    conclude(root, decision, now=now, tracking_uri=tracking_uri)
    shutil.rmtree(pending)
    return decision


def _promote_refit(
    root: Path,
    decision: Decision,
    folder: Path,
    card: ChampionCard,
    *,
    now: pd.Timestamp,
    tracking_uri: str,
) -> Decision:
    """Make the recipe that was fitted again on all data, in `folder`, the champion; returns the
    decision with the refit's version, or with a note why it does not serve.
    """
    assert decision.version is not None
    version = registry.register_refit(
        root, decision.dataset, folder, card, decision.version, tracking_uri=tracking_uri
    )
    promotion = Promotion(
        version,
        f"version {decision.version} fitted again on all data, unscored",
        is_judged=True,
        judged_against=decision.version,
    )
    try:
        registry.move_champion(root, decision.dataset, promotion, now, tracking_uri)
    except ChampionChangedError as error:
        note = f"the refit on all data does not serve: {error}"
        return decision.model_copy(update={"note": note})
    return decision.model_copy(update={"refit_version": version})


def conclude(root: Path, decision: Decision, *, now: pd.Timestamp, tracking_uri: str) -> None:
    """Record a finished decision: in its file, in the history, and in MLflow if that answers.

    The run in MLflow stands in the experiment `<dataset> retraining` and is named by the date of
    the data (`Decision.as_of`, not the day of the retraining) and the decision's word.
    """
    dataset = decision.dataset
    folder = ProjectPaths.of(root).retraining(dataset) / "decisions"
    decision.write(folder / f"{decision.key}.json")
    event_name = "gate kept champion"
    if decision.version:  # only a challenger that has passed is registered
        event_name = "gate passed" if decision.promotes else "gate passed, champion changed"
    if decision.key not in [event.decision for event in champion.read_events(root, dataset)]:
        champion.record_event(
            root,
            dataset,
            HistoryEvent(
                at=now.floor("s").isoformat(),
                event=event_name,
                decision=decision.key,
                version=decision.version,
                reason=decision.reason,
            ),
        )
    with contextlib.suppress(ForecastError):
        log_content(
            tracking_store(root, tracking_uri),
            f"{dataset} retraining",
            f"{decision.as_of[:10]} {decision.word}",
            decision.to_json(),
            "decision.json",
            now=now.timestamp(),
        )
