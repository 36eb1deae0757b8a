"""`forecast schedule run`: one process that starts commands at their times, each in a process of
its own.

APScheduler keeps the threads. When a job runs is said here (`next_run`), not by the scheduler's
cron trigger: that one fires twice and more in the hour that a clock repeats. Every configured time
of every configured day gives one moment: the first of two equal local times, and the moment after
the gap for a local time that does not exist. What survives this process lies below
`.forecast/schedule/`:

    heartbeat.json      written every few seconds: pid, time, what runs, what comes next
    <job>.json          the last run: started, ended, exit code; it decides after a restart what
                        was missed
    <job>.log           what the last runs printed, cut to the newest `LOG_BYTES`

`Scheduler` runs the jobs of a project; one of them at a time per project (`BusyError`). A missed
time is made up for once, however many passed (`missed_time`); a job that outlasts its timeout is
ended.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from forecast.config.operation import Schedule, ScheduledJob
from forecast.config.paths import ProjectPaths
from forecast.config.task import WEEKDAYS
from forecast.operations.records import Heartbeat, JobRun, read_if_valid
from forecast.system import files
from forecast.system.errors import STOPPED, TIMED_OUT, describe_exit_code
from forecast.system.processes import send_signal

HEARTBEAT_SECONDS = 10.0
UNWIND_SECONDS = 10.0
LOG_BYTES = 1_000_000


def read_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


@dataclass
class Scheduler:
    """The jobs of one project.

    `log_event` gets one line per event; `environment` is that of the commands; `clock` and
    `heartbeat_seconds` are given by tests; setting `ending` ends it.
    """

    root: Path
    schedule: Schedule
    environment: Mapping[str, str]
    log_event: Callable[[str], None]
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    clock: Callable[[], datetime] = read_clock
    ending: threading.Event = field(default_factory=threading.Event)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self) -> None:
        """Start jobs at their times, and write the heartbeat, until `ending` is set; then running
        jobs are ended too. `BusyError` while another scheduler of this project runs.
        """
        with files.hold_lock(
            ProjectPaths.of(self.root).lock("schedule"), purpose="`forecast schedule run`"
        ):
            files.remove_leftovers(ProjectPaths.of(self.root).schedule)
            for name, moment in next_times(self.schedule, self.clock()).items():
                self.log_event(f"{name}: next at {moment:%Y-%m-%d %H:%M:%S} UTC")
            pool = ThreadPoolExecutor(max_workers=2 * len(self.schedule.jobs))
            scheduler = BackgroundScheduler(timezone=UTC, executors={"default": pool})
            for name, job in self.schedule.jobs.items():
                self._add_job(scheduler, name, job)
            scheduler.start()
            try:
                self._write_heartbeat()
                while not self.ending.wait(self.heartbeat_seconds):
                    self._write_heartbeat()
            finally:
                self.ending.set()
                scheduler.shutdown(wait=True)
                self._write_heartbeat()

    def run_job(self, name: str) -> int:
        """Run one job to its end or its timeout; the exit code, also kept in `<job>.json`."""
        job = self.schedule.jobs[name]
        started = self.clock()
        path = ProjectPaths.of(self.root).schedule / f"{name}.json"
        files.remove_leftovers(path.parent, path.name)
        JobRun(started=started.isoformat()).write(path)
        code = self._run_command(name, job)
        ended = self.clock().isoformat()
        JobRun(started=started.isoformat(), ended=ended, code=code).write(path)
        command = " ".join(job.run)
        self.log_event(
            f"{name}: `forecast {command}` ended with {code} ({describe_exit_code(code)})"
        )
        return code

    def _add_job(self, scheduler: BackgroundScheduler, name: str, job: ScheduledJob) -> None:
        """Give the job to APScheduler; one that missed a time runs at once."""
        last = read_last_run(self.root, name)
        last_started = datetime.fromisoformat(last.started) if last is not None else None
        missed = missed_time(name, job, last_started, self.clock())
        if missed is not None:
            self.log_event(f"{name}: missed {missed:%Y-%m-%d %H:%M} UTC; running once now")
        scheduler.add_job(
            self._run_unless_ending,
            JobTrigger(name, job, at_once=missed is not None),
            args=(name,),
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def _run_unless_ending(self, name: str) -> None:
        """What APScheduler calls at the time of the job `name`: run it to its end, with a heartbeat
        before and after; nothing once the scheduler is told to end.
        """
        if self.ending.is_set():
            return
        self._write_heartbeat()
        self.run_job(name)
        self._write_heartbeat()

    def _run_command(self, name: str, job: ScheduledJob) -> int:
        """Start the job's command in a process of its own, its output into the job's log; the exit
        code.
        """
        log = ProjectPaths.of(self.root).schedule / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            files.write_bytes(log, log.read_bytes()[-LOG_BYTES // 2 :])
        command = [sys.executable, "-m", "forecast", *job.run]
        with log.open("ab") as output:
            output.write(
                f"\n== {self.clock():%Y-%m-%d %H:%M:%S} UTC forecast {' '.join(job.run)}\n".encode()
            )
            output.flush()
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[name] = process
            try:
                return self._wait(process, 60 * job.timeout_minutes)
            finally:
                del self._running[name]

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        """The exit code; 124 after the timeout, 143 when the scheduler is told to end: both end
        what it started.
        """
        until = time.monotonic() + seconds  # the wall clock may be set while a job runs
        while not self.ending.is_set() and time.monotonic() < until:
            try:
                return process.wait(timeout=min(0.5, max(0.0, until - time.monotonic())))
            except subprocess.TimeoutExpired:
                continue
        _end_process(process)
        return STOPPED if self.ending.is_set() else TIMED_OUT

    def _write_heartbeat(self) -> None:
        """Write heartbeat.json; a fault is logged and not raised."""
        now = self.clock()
        planned = next_times(self.schedule, now)
        heartbeat = Heartbeat(
            pid=os.getpid(),
            at=now.isoformat(),
            state="ended" if self.ending.is_set() else "running",
            running=tuple(sorted(self._running)),
            next={name: moment.isoformat() for name, moment in planned.items()},
        )
        try:
            heartbeat.write(ProjectPaths.of(self.root).schedule / "heartbeat.json")
        except Exception as error:  # noqa: BLE001
            # a full disk for a while must not end the scheduler
            self.log_event(f"heartbeat could not be written: {error}")


class JobTrigger(BaseTrigger):
    """`next_run` for APScheduler. `at_once`: the first run is now, to make up for a missed one."""

    def __init__(self, name: str, job: ScheduledJob, *, at_once: bool) -> None:
        """`name` is that of the job, which its jitter depends on."""
        self.name = name
        self.job = job
        self.at_once = at_once

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When the job runs next, asked by APScheduler."""
        if previous_fire_time is None and self.at_once:
            return now
        # From the run before, not from now: so that APScheduler sees what was slept through and
        # runs it once.
        return next_time(self.name, self.job, min(previous_fire_time or now, now))


def next_times(schedule: Schedule, now: datetime) -> dict[str, datetime]:
    """Job → its next moment in UTC."""
    return {name: next_time(name, job, now) for name, job in schedule.jobs.items()}


def read_last_run(root: Path, name: str) -> JobRun | None:
    """The last run of a job; None when it never ran."""
    return read_if_valid(JobRun, ProjectPaths.of(root).schedule / f"{name}.json")


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the command, which unwinds; what is left of it and its descendants after
    `UNWIND_SECONDS` is killed.
    """
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(timeout=UNWIND_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    send_signal(family, signal.SIGKILL)


def next_time(name: str, job: ScheduledJob, after: datetime) -> datetime:
    """The first moment (UTC) at which `job` runs after `after` (any zone), its jitter included."""
    return min(moment for moment in _run_times(name, job, after) if moment > after)


def missed_time(
    name: str, job: ScheduledJob, last_started: datetime | None, now: datetime
) -> datetime | None:
    """The first time that passed since the last start; None when there is none, or when the job
    never ran.

    However many times passed, it is one: they coalesce. A start that lies in the future was
    written by a clock that has been set back since: then nothing was missed.
    """
    if last_started is None:
        return None
    moment = next_time(name, job, last_started)
    return moment if moment <= now else None


def _run_times(name: str, job: ScheduledJob, around: datetime) -> Iterator[datetime]:
    """The moments of the job in UTC, from those of two days before `around` to those of eight days
    after it, so that a weekly job has one behind it. Jitter is included, by which a late time of
    one day may come after an early one of the next; it is drawn from name, day and time, so that it
    is the same whenever it is asked for.
    """
    today = around.astimezone(job.zone).date()
    for day in (today + timedelta(days=n) for n in range(-2, 9)):
        if WEEKDAYS[day.weekday()] in job.days:
            for at in job.times:
                # fold 0: the first of two equal local times
                local = datetime.combine(day, at, tzinfo=job.zone).astimezone(UTC)
                jitter = random.Random(f"{name} {day} {at}").uniform(0, 60 * job.jitter_minutes)
                yield local + timedelta(seconds=round(jitter))
