"""`forecast promote | rollback | status | history`: which model serves, how it does, what became of
the others; and `forecast retrain` and `forecast schedule run | next`: gated retrainings, by hand
and at their times.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from forecast.cli import shown
from forecast.cli.run import revision
from forecast.cli.shown import (
    DATASET,
    FORMAT,
    ROOT,
    Format,
    now,
    require_project,
    show,
    tracking_uri,
)
from forecast.config.paths import ProjectPaths
from forecast.system.errors import ForecastError, GateRefused, InputError, counted, nearest
from forecast.system.processes import stop_on_signals
from forecast.system.stage import duration

if TYPE_CHECKING:
    from forecast.operations.challenger import RetrainingJob
    from forecast.operations.decision import Decision

REASON = typer.Option("", "--reason", help="Why; kept in the history.")


def promote(
    dataset: str = DATASET,
    version: int = typer.Option(
        0, "--version", min=0, help="A registered version; 0: what the last run chose."
    ),
    reason: str = REASON,
    root: Path = ROOT,
) -> None:
    """Make a model the champion by hand: the one the last run chose on validation, or a registered
    version.
    """
    from forecast.operations import registry

    project, uri = _project(root, dataset), tracking_uri()
    if not version:
        folder, meta = registry.selected_candidate(
            project, dataset, now=now(), revision=revision(project)
        )
        version = registry.register_candidate(project, dataset, folder, meta, tracking_uri=uri)
    registry.promote(
        project, dataset, version, now=now(), reason=reason or "by hand", tracking_uri=uri
    )
    _print_champion(project, dataset, version)


def rollback(
    dataset: str = DATASET, reason: str = REASON, root: Path = ROOT, form: Format = FORMAT
) -> None:
    """Make the previous champion the champion again; a second rollback undoes the first."""
    from forecast.operations import registry

    project = _project(root, dataset)
    version = registry.rollback(
        project, dataset, now=now(), reason=reason or "by hand", tracking_uri=tracking_uri()
    )
    if form is Format.json:
        show([{"dataset": dataset, "champion": version}], form)
    else:
        _print_champion(project, dataset, version)


def status(
    dataset: str = typer.Argument("", help="Only this one."),
    registry: bool = typer.Option(
        False, "--registry", help="Also ask MLflow, and take over what was promoted there."
    ),
    page: bool = typer.Option(
        False, "--page", help="Also draw live accuracy into reports/live.html."
    ),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Show each champion, its age, live error, drift, last and next run; exits 1 when something is
    wrong.
    """
    from forecast.operations.status import read_status, run_datasets

    project = require_project(root)
    names = [dataset] if dataset else run_datasets(project)
    if dataset:
        _project(root, dataset)
    if page:
        from forecast.operations import live_accuracy

        print(live_accuracy.write_page(project, names), file=sys.stderr)
    found = []
    for name in names:
        fault = _taken_over(project, name) if registry else ""
        own = read_status(project, name, now=datetime.now(UTC))
        found.append(replace(own, state=f"registry: {fault}") if fault and own.is_good else own)
    rows = [asdict(entry) for entry in found]
    show(rows if form is Format.json else [row for entry in rows for row in _lines(entry)], form)
    if not all(entry.is_good for entry in found):
        raise typer.Exit(1)


def history(dataset: str = DATASET, root: Path = ROOT, form: Format = FORMAT) -> None:
    """List what became of a data set's versions, oldest first."""
    from forecast.operations import champion, status

    project = _project(root, dataset)
    rows = champion.history_rows(project, dataset, status.calendar_kind(project, dataset))
    if not rows and form is Format.table:
        print(f"{dataset}: nothing yet; `forecast promote {dataset}` makes the first champion.")
        return
    show(rows, form)


def _taken_over(project: Path, dataset: str) -> str:
    """Aliases and versions of the registry, a sentence on standard error for each thing done; what
    kept it from being done is returned.
    """
    from forecast.operations import registry

    try:
        for sentence in registry.repair_registry(
            project, dataset, tracking_uri=tracking_uri(), timeout=0.0
        ):
            print(sentence, file=sys.stderr)
    except ForecastError as error:
        return str(error)
    return ""


def _print_champion(project: Path, dataset: str, version: int) -> None:
    from forecast.operations import champion

    meta = champion.read_card(project, dataset, version)
    skill = f", test skill {100 * meta.metrics['skill']:+.1f} %" if "skill" in meta.metrics else ""
    print(
        f"{dataset}: version {version} ({meta.candidate}{skill}) is the champion. `forecast predict"
        f" {dataset}`"
    )


def _lines(row: dict[str, Any]) -> list[dict[str, str]]:
    """One entry as lines of what and value: fourteen columns are too many for a terminal."""
    ratio, age, fitted = (
        row["live_error"],
        row["age_days"],
        row["training_cutoff"].partition("T")[0],
    )
    live = (
        "no issued forecast has met its actuals yet"
        if ratio is None
        else f"{ratio:.2f} x the test error"
    )
    hours, last = row["last_observation_age_h"], row["last_observation"][:16]
    old = (
        ""
        if hours is None
        else counted(abs(hours), "hour")
        if abs(hours) < 48
        else counted(abs(hours) / 24, "day")
    )
    observed = (
        f"; last observation {last}, {f'{old} old' if hours >= 0 else f'over in {old}'}"
        if old
        else ""
    )
    values = {
        "champion": f"version {row['champion']} ({row['model']})" if row["champion"] else "none",
        "age": f"{counted(age, 'day')}, fitted on data up to {fitted}" if age is not None else "",
        "test skill": _percent(row["skill"]),
        "live error": f"{live} ({counted(row['live_issues'], 'issue')})",
        "live skill": _percent(row["live_skill"]),
        "data": f"as of {row['data_as_of']}{observed}",
        "drift": row["drift"],
        "last run": row["last_run"],
        "next run": row["next_run"],
        "state": row["state"],
    }
    return [
        {"dataset": row["dataset"], "what": what, "value": value} for what, value in values.items()
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f} %"


def _project(root: Path, dataset: str) -> Path:
    from forecast.config.reading import read_yaml

    project = require_project(root)
    known = (read_yaml(ProjectPaths.of(project).datasets_yaml) or {}).get("datasets") or {}
    if dataset not in known:
        raise InputError(f"Unknown dataset {dataset!r}.{nearest(dataset, known)}.")
    return project


STRATEGY = typer.Option(
    "scratch", "--strategy", help="Networks begin anew, or with the champion's weights (warm)."
)


def retrain(
    dataset: str = DATASET,
    as_of: str = shown.AS_OF,
    strategy: Literal["scratch", "warm"] = STRATEGY,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Decide, but record and promote nothing."
    ),
    on: str = shown.CLUSTER,
    root: Path = ROOT,
) -> None:
    """Fetch, train a challenger beside your checkout, and promote it if the gate finds it better.

    Exits 0 when done or nothing is to do, 2 for wrong input, 3 for the data, 4 when the challenger
    was refused, 75 when a retraining of the data set runs already.
    """
    from forecast.operations import retrain as work
    from forecast.operations.challenger import RetrainingJob

    def said(step: str) -> None:
        print(
            f"{datetime.now(UTC):%H:%M:%S} retrain {dataset}: {step}", file=sys.stderr, flush=True
        )

    stop_on_signals()
    shown.work_on(on)
    place = require_project(root).resolve()
    job = RetrainingJob(
        root=place,
        dataset=dataset,
        now=now(),
        environment=dict(os.environ),
        as_of=shown.as_of_moment(as_of) if as_of else None,
        strategy=strategy,
        log_step=said,
    )
    started = time.monotonic()
    try:
        decision = work.rehearse(job) if dry_run else work.retrain(job)
    except ForecastError as error:
        if not dry_run:
            _tell(
                job,
                "failure",
                {"dataset": dataset, "exit_code": error.exit_code, "reason": str(error)},
            )
        raise
    except KeyboardInterrupt:
        print(
            "\nInterrupted; the champion is as it was, or the next run finishes the promotion.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _print_decision(decision, place, took=time.monotonic() - started)
    if not dry_run:
        _tell(job, "promotion" if decision.promotes else "success", asdict(decision))
    if decision.word == "kept":
        raise GateRefused(f"{dataset}: the champion stays: {decision.reason}.")


def _print_decision(decision: Decision, root: Path, *, took: float) -> None:
    from forecast.config.task import format_time
    from forecast.operations.status import calendar_kind

    for path in decision.unused_edits[:5]:
        print(f"Not used, because it is not committed: {path}", file=sys.stderr)
    if decision.word == "not due":
        print(f"{decision.dataset}: nothing to do; {decision.reason}")
    elif decision.promotes:
        version = decision.refit_version or decision.version
        print(
            f"{decision.dataset}: {decision.candidate} is the champion (version {version}):"
            f" {decision.reason}"
        )
    if decision.note:
        print(decision.note, file=sys.stderr)
    reach = format_time(calendar_kind(root, decision.dataset), decision.data_end)
    print(f"Data up to {reach}, decision {decision.key}; took {duration(took)}")


def _tell(job: RetrainingJob, event: str, content: dict[str, object]) -> None:
    """Hooks of the checkout's configuration; whatever is wrong with them changes nothing."""
    from forecast.config.operation import load_retraining
    from forecast.operations.decision import notify

    try:
        hooks = load_retraining(job.dataset, ProjectPaths.of(job.root).configs).hooks
        faults = notify(hooks, event, content, root=job.root, environment=job.environment)  # type: ignore[arg-type]
    except ForecastError as error:
        faults = [f"hooks: {error}"]
    for fault in faults:
        print(fault, file=sys.stderr)


schedule = typer.Typer(
    no_args_is_help=True, help="Run commands at the times of configs/schedule.yaml."
)


@schedule.command("run")
def run(root: Path = ROOT) -> None:
    """Start each job at its time until SIGTERM or Ctrl-C; both end running jobs cleanly."""
    from forecast.config.operation import load_schedule
    from forecast.operations.schedule import Scheduler, next_runs

    place = require_project(root).resolve()
    jobs = load_schedule(place / "configs")
    scheduler = Scheduler(place, jobs, dict(os.environ), log_event=_say)

    def end(_number: int, _frame: object) -> None:
        scheduler.ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    for name, moment in next_runs(jobs, datetime.now(UTC)).items():
        _say(f"{name}: next at {moment:%Y-%m-%d %H:%M:%S} UTC")
    scheduler.run()
    _say("ended")


@schedule.command("next")
def upcoming(root: Path = ROOT, form: Format = FORMAT) -> None:
    """When each job runs next, and how its last run ended."""
    from forecast.config.operation import load_schedule
    from forecast.operations.schedule import last_run, next_runs

    place = require_project(root).resolve()
    jobs = load_schedule(place / "configs")
    found: list[dict[str, Any]] = []
    for name, moment in next_runs(jobs, datetime.now(UTC)).items():
        job, last = jobs.jobs[name], last_run(place, name)
        following = {
            "command": " ".join(job.run),
            "next": f"{moment.astimezone(job.zone):%a %Y-%m-%d %H:%M %Z}",
        }
        found.append(
            {
                "job": name,
                **following,
                **{f"last_{key}": last.get(key) for key in ("started", "code")},
            }
        )
    show(found, form)


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)
