"""`forecast schedule run | next`: the commands of configs/schedule.yaml at their times."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from forecast.cli.shown import FORMAT, ROOT, Format, require_project, show

schedule = typer.Typer(no_args_is_help=True, help="Run commands at the times of configs/schedule.yaml.")


def register(app: typer.Typer) -> None:
    app.add_typer(schedule, name="schedule")


@schedule.command("run")
def run(root: Path = ROOT) -> None:
    """Start each job at its time until SIGTERM or Ctrl-C; both end running jobs cleanly."""
    from forecast.config.schedule import load_schedule
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
    from forecast.config.schedule import load_schedule
    from forecast.operations.schedule import last_run, next_runs

    place = require_project(root).resolve()
    jobs = load_schedule(place / "configs")
    found: list[dict[str, Any]] = []
    for name, moment in next_runs(jobs, datetime.now(UTC)).items():
        last = last_run(place, name)
        local = moment.astimezone(jobs.jobs[name].zone)
        found.append(
            {
                "job": name,
                "command": " ".join(jobs.jobs[name].run),
                "next": f"{local:%a %Y-%m-%d %H:%M %Z}",
                "last_started": last.get("started"),
                "last_code": last.get("code"),
            }
        )
    show(found, form)


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)
