"""`forecast retrain` and `forecast schedule run | next`: gated retrainings, by hand and at their times."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from forecast.cli.shown import CLUSTER, FORMAT, ROOT, Format, as_of_moment, now, require_project, show, work_on
from forecast.config.paths import ProjectPaths
from forecast.system.errors import ForecastError, GateRefused
from forecast.system.processes import stop_on_signals
from forecast.system.progress import duration

if TYPE_CHECKING:
    from forecast.operations.challenger import Job
    from forecast.operations.decision import Decision


STRATEGY = typer.Option("scratch", "--strategy", help="Networks begin anew, or with the champion's weights (warm).")


def retrain(
    dataset: str = typer.Argument(help="An entry of configs/datasets.yaml."),
    as_of: str = typer.Option("", "--as-of", help="Only what was known by then (UTC), such as 2024-06-30; else now."),
    strategy: Literal["scratch", "warm"] = STRATEGY,
    dry_run: bool = typer.Option(False, "--dry-run", help="Decide, but record and promote nothing."),
    on: str = CLUSTER,
    root: Path = ROOT,
) -> None:
    """Fetch, train a challenger beside your checkout, and promote it if the gate finds it better.

    Exits 0 when done or nothing is to do, 2 for wrong input, 3 for the data, 4 when the challenger was refused, 75
    when a retraining of the data set runs already.
    """
    from forecast.operations import retrain as work
    from forecast.operations.challenger import Job

    def said(step: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} retrain {dataset}: {step}", file=sys.stderr, flush=True)

    stop_on_signals()
    work_on(on)
    place = require_project(root).resolve()
    job = Job(
        root=place, dataset=dataset, now=now(), environment=dict(os.environ),
        as_of=as_of_moment(as_of) if as_of else None, strategy=strategy, say=said,
    )  # fmt: skip
    started = time.monotonic()
    try:
        decision = work.rehearse(job) if dry_run else work.retrain(job)
    except ForecastError as error:
        if not dry_run:
            _tell(job, "failure", {"dataset": dataset, "exit_code": error.exit_code, "reason": str(error)})
        raise
    except KeyboardInterrupt:
        print("\nInterrupted; the champion is as it was, or the next run finishes the promotion.", file=sys.stderr)
        raise typer.Exit(130) from None
    _print_decision(decision, took=time.monotonic() - started)
    if not dry_run:
        _tell(job, "promotion" if decision.promotes else "success", decision.to_json())
    if decision.word == "kept":
        raise GateRefused(f"{dataset}: the champion stays: {decision.reason}.")


def _print_decision(decision: Decision, *, took: float) -> None:
    for path in decision.unused_edits[:5]:
        print(f"Not used, because it is not committed: {path}", file=sys.stderr)
    if decision.word == "not due":
        print(f"{decision.dataset}: nothing to do; {decision.reason}")
    elif decision.promotes:
        version = decision.refit_version or decision.version
        print(f"{decision.dataset}: {decision.candidate} is the champion (version {version}): {decision.reason}")
    if decision.note:
        print(decision.note, file=sys.stderr)
    print(f"Data up to {decision.data_end}, decision {decision.key}; took {duration(took)}")


def _tell(job: Job, event: str, content: dict[str, object]) -> None:
    """Hooks of the checkout's configuration; whatever is wrong with them changes nothing."""
    from forecast.config.operation import load_retraining
    from forecast.operations.decision import notify

    try:
        hooks = load_retraining(job.dataset, ProjectPaths.of(job.root).configs).hooks
        faults = notify(hooks, event, content, root=job.root, given=job.environment)  # type: ignore[arg-type]
    except ForecastError as error:
        faults = [f"hooks: {error}"]
    for fault in faults:
        print(fault, file=sys.stderr)


schedule = typer.Typer(no_args_is_help=True, help="Run commands at the times of configs/schedule.yaml.")


@schedule.command("run")
def run(root: Path = ROOT) -> None:
    """Start each job at its time until SIGTERM or Ctrl-C; both end running jobs cleanly."""
    from forecast.config.operation import load_schedule
    from forecast.operations.schedule import Scheduler, next_runs

    place = require_project(root).resolve()
    jobs = load_schedule(place / "configs")
    scheduler = Scheduler(place, jobs, dict(os.environ), say=_say)

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
        following = {"command": " ".join(job.run), "next": f"{moment.astimezone(job.zone):%a %Y-%m-%d %H:%M %Z}"}
        found.append({"job": name, **following, **{f"last_{key}": last.get(key) for key in ("started", "code")}})
    show(found, form)


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)
