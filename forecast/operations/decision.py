"""What one retraining decided, and the steps after it: written down first, then carried out, so
that a kill between any two is finished by the next run.

    .forecast/retrain/<dataset>/pending/            a decision that is not carried out yet, with the
    candidate .forecast/retrain/<dataset>/decisions/<key>.json    every finished one
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.operation import HookEvent, Hooks
from forecast.config.paths import ProjectPaths
from forecast.operations import champion, registry
from forecast.operations.champion import ChampionCard
from forecast.operations.registry import ChampionChanged
from forecast.system import files
from forecast.system.errors import ForecastError
from forecast.tracking import tracking_store
from forecast.tracking.writing import log_decision

PROMOTING = ("better", "equivalent", "first")
Refit = Callable[[Path, Path], None]
"""(the candidate's folder, the folder to fill): the recipe fitted again on all data."""


@dataclass(frozen=True)
class Decision:
    """`word`: better, equivalent, first (promoted), kept, or not due. `key`: digest of what made
    it.

    `numbers` is everything it was decided on; `version` and `refit_version` are what was promoted.
    `champion` is what it was compared with; `alias` had the alias then: another one where a damaged
    champion was replaced.
    """

    key: str
    dataset: str
    as_of: str
    data_sha256: str
    data_end: str
    config_hash: str
    revision: str
    strategy: str
    at: str
    word: str
    reason: str
    champion: int | None = None
    served_version: int | None = None
    candidate: str = ""
    version: int | None = None
    refit_version: int | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    drift: tuple[dict[str, Any], ...] = ()
    due: tuple[str, ...] = ()
    unused_edits: tuple[str, ...] = ()
    note: str = ""

    @property
    def promotes(self) -> bool:
        return self.word in PROMOTING


def decision_key(of: Decision) -> str:
    """One digest of what decides: the same again is nothing to do."""
    return files.sha256_of(
        [of.dataset, of.as_of, of.data_sha256, of.config_hash, of.revision, of.strategy]
    )[:24]


def read_decisions(root: Path, dataset: str) -> list[Decision]:
    """Every finished decision, oldest first; one that cannot be read is left out."""
    found = []
    for path in (ProjectPaths.of(root).retraining(dataset) / "decisions").glob("*.json"):
        with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
            found.append(from_json(files.read_json(path)))
    return sorted(found, key=lambda decision: (decision.data_end, decision.at))


def from_json(content: Mapping[str, Any]) -> Decision:
    lists = {name: tuple(content[name]) for name in ("drift", "due", "unused_edits")}
    return files.remade(Decision, {**content, **lists})


def write_pending(root: Path, decision: Decision, candidate: Path, card: ChampionCard) -> None:
    """The decision and all that carrying it out needs, whole or not at all."""
    with files.atomic_directory(
        ProjectPaths.of(root).retraining(decision.dataset) / "pending"
    ) as folder:
        shutil.copytree(candidate, folder / "candidate")
        files.write_json(folder / "meta.json", asdict(card))
        files.write_json(folder / "decision.json", asdict(decision))


def finish_pending(
    root: Path,
    dataset: str,
    *,
    now: pd.Timestamp,
    tracking_uri: str,
    refit: Refit | None,
    log_step: Callable[[str], None],
) -> Decision | None:
    """Carry out the pending decision, every step of which may have been done before; None when
    there is none.

    A refit that fails is noted and leaves the scored version in service. A decision that another
    machine's promotion has overtaken becomes "kept".
    """
    pending = ProjectPaths.of(root).retraining(dataset) / "pending"
    if not (pending / "decision.json").exists():
        return None
    decision = from_json(files.read_json(pending / "decision.json"))
    meta = files.remade(ChampionCard, files.read_json(pending / "meta.json"))
    log_step("register")
    version = registry.register_candidate(
        root, dataset, pending / "candidate", meta, tracking_uri=tracking_uri
    )
    log_step("promote")
    decision = replace(decision, version=version)
    against = decision.champion if decision.served_version is None else decision.served_version
    try:
        registry.promote_judged(root, dataset, version, against, now, decision.reason, tracking_uri)
    except ChampionChanged as error:
        decision = replace(decision, word="kept", reason=str(error))
    if refit is not None and decision.promotes:
        log_step("refit")
        decision = _refitted(
            root, decision, meta, pending, now=now, tracking_uri=tracking_uri, refit=refit
        )
    log_step("record")
    conclude(root, decision, now=now, tracking_uri=tracking_uri)
    shutil.rmtree(pending)
    return decision


def _refitted(
    root: Path,
    decision: Decision,
    meta: ChampionCard,
    pending: Path,
    *,
    now: pd.Timestamp,
    tracking_uri: str,
    refit: Refit,
) -> Decision:
    folder = pending / "refit"
    try:
        if not (folder / "borders.json").exists():
            refit(pending / "candidate", folder)
    except ForecastError as error:
        return replace(
            decision, note=f"the refit on all data failed, the scored version serves: {error}"
        )
    borders = files.read_json(folder / "borders.json")
    unscored = replace(
        meta,
        training_cutoff=borders["validation_end"],
        last_target_used=borders["test_end"],
        metrics={},
        refit_of=decision.version,
    )
    version = registry.register_candidate(
        root, decision.dataset, folder, unscored, tracking_uri=tracking_uri
    )
    reason = f"version {decision.version} fitted again on all data, unscored"
    try:
        registry.promote_judged(
            root, decision.dataset, version, decision.version, now, reason, tracking_uri
        )
    except ChampionChanged as error:
        return replace(decision, note=f"the refit on all data does not serve: {error}")
    return replace(decision, refit_version=version)


def conclude(root: Path, decision: Decision, *, now: pd.Timestamp, tracking_uri: str) -> None:
    """The decision as a finished one: here first, then in MLflow; what MLflow did not take is
    offered again later.
    """
    folder = ProjectPaths.of(root).retraining(decision.dataset) / "decisions"
    files.write_json(folder / f"{decision.key}.json", asdict(decision))
    if not any(
        event.get("decision") == decision.key
        for event in champion.read_events(root, decision.dataset)
    ):
        drifted = [shift["what"] for shift in decision.drift if shift["drifted"]]
        event = {
            "event": "gate passed" if decision.promotes else "gate refused",
            "decision": decision.key,
            "version": decision.version,
            "reason": decision.reason,
            "drift": ", ".join(drifted) or "none",
        }
        champion.record_event(root, decision.dataset, event, now=now)
    log_unlogged(root, decision.dataset, now=now, tracking_uri=tracking_uri)


def log_unlogged(root: Path, dataset: str, *, now: pd.Timestamp, tracking_uri: str) -> None:
    """Log every finished decision that MLflow does not have yet; what it still does not take waits
    for the next.
    """
    for decision in read_decisions(root, dataset):
        marker = ProjectPaths.of(root).retraining(dataset) / "decisions" / f"{decision.key}.logged"
        if not marker.exists():
            with contextlib.suppress(ForecastError):
                run = log_decision(
                    tracking_store(root, tracking_uri),
                    dataset,
                    asdict(decision),
                    now=now.timestamp(),
                )
                files.write_text(marker, run + "\n")


def notify(
    hooks: Hooks,
    event: HookEvent,
    decision: Mapping[str, Any],
    *,
    root: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """Run the command and call the webhook where `event` is asked for; a sentence, no error, for
    each that failed.
    """
    if event not in hooks.on:
        return []
    content = json.dumps({"event": event, **decision}, default=str) + "\n"
    address = environment.get("FORECAST_WEBHOOK") or hooks.webhook
    faults = [_run(hooks, event, content, root, environment)] if hooks.command else []
    faults += [_post(address, content, hooks.timeout_seconds)] if address else []
    return list(filter(None, faults))


def _run(hooks: Hooks, event: str, content: str, root: Path, given: Mapping[str, str]) -> str:
    name = " ".join(hooks.command)
    try:
        done = subprocess.run(
            list(hooks.command),
            cwd=root,
            env={**given, "FORECAST_EVENT": event},
            input=content,
            text=True,
            capture_output=True,
            timeout=hooks.timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"hook {name!r}: {error}"
    return (
        f"hook {name!r} ended with {done.returncode}: {done.stderr.strip()[:300]}"
        if done.returncode
        else ""
    )


def _post(address: str, content: str, seconds: float) -> str:
    import httpx

    try:
        answer = httpx.post(
            address, content=content, headers={"content-type": "application/json"}, timeout=seconds
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"webhook: {type(error).__name__}: {error}"  # the address may be a secret
    return f"webhook answered {answer.status_code}" if answer.status_code >= 400 else ""
