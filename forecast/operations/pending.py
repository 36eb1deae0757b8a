"""What one retraining decided, and the steps after it: written down first, then carried out, so
that a kill between any two is finished by the next run.

    .forecast/retrain/<dataset>/
        pending/                a decision that is not carried out yet, with the candidate
        decisions/<key>.json    every finished one

`write_pending` and `finish_pending` are the two halves; `conclude` records a decision here and in
MLflow. What is decided, and why, is worked out in `forecast.operations.retrain`.

A refit that fails leaves the scored version in service; a promotion that another machine has
overtaken becomes "kept"; what MLflow or a hook did not take costs no decision.
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
from forecast.system.errors import ForecastError
from forecast.tracking import tracking_store
from forecast.tracking.writing import log_content


def decision_key(decision: Decision) -> str:
    """One digest of what decides: the same again is nothing to do."""
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
    """Write down the decision and all that carrying it out needs, whole or not at all."""
    pending = ProjectPaths.of(root).retraining(decision.dataset) / "pending"
    with files.atomic_directory(pending) as folder:
        shutil.copytree(candidate, folder / "candidate")
        card.write(folder / "card.json")
        decision.write(folder / "decision.json")


def finish_pending(
    root: Path,
    dataset: str,
    *,
    now: pd.Timestamp,
    tracking_uri: str,
    refit: Refit | None,
    log_step: Callable[[str], None],
) -> Decision:
    """Carry out the pending decision, every step of which may have been done before.

    A refit that fails is noted and leaves the scored version in service. A decision that another
    machine's promotion has overtaken becomes "kept".
    """
    pending = ProjectPaths.of(root).retraining(dataset) / "pending"
    decision = Decision.read(pending / "decision.json")
    card = ChampionCard.read(pending / "card.json")
    log_step("register")
    version = registry.register_candidate(
        root, dataset, pending / "candidate", card, tracking_uri=tracking_uri
    )
    log_step("promote")
    decision = decision.model_copy(update={"version": version})
    rival = decision.served_version or decision.champion
    promotion = Promotion(version, decision.reason, is_judged=True, judged_against=rival)
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
    """The decision after its recipe, fitted again on all data in `folder`, became the champion,
    unscored.
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
    """Write the decision down as a finished one: here first, then in MLflow, where it may fail."""
    dataset = decision.dataset
    folder = ProjectPaths.of(root).retraining(dataset) / "decisions"
    decision.write(folder / f"{decision.key}.json")
    if decision.key not in [event.decision for event in champion.read_events(root, dataset)]:
        champion.record_event(
            root,
            dataset,
            HistoryEvent(
                at=now.floor("s").isoformat(),
                event="gate passed" if decision.promotes else "gate kept champion",
                decision=decision.key,
                version=decision.version,
                reason=decision.reason,
                drift=", ".join(decision.drifted) or "none",
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
