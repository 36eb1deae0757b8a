"""`forecast schedule run`: starts commands at set times, each in a process of its own.

Files below `.forecast/schedule/`:

    heartbeat.json      written every few seconds: PID, time, next times
    <job>.json          the last run: started, ended, exit code; shows after a restart whether a
                        time was missed
    <job>.log           the output of the newest runs, at most about `LOG_BYTES`

APScheduler provides the threads, but not the times: its cron trigger fires several times in the
hour that a clock repeats. Here every configured time of a configured day gives one moment
(`next_time`): the first of two equal local times, and the moment after the gap for a local time
that does not exist.
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
from forecast.system.errors import STOPPED, TIMED_OUT, describe_exit_code, one_line
from forecast.system.processes import send_signal

HEARTBEAT_SECONDS = 10.0
UNWIND_SECONDS = 10.0
LOG_BYTES = 1_000_000


def read_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


@dataclass
class Scheduler:
    """Runs the jobs of one project.

    A job that has run before and missed a time, while no scheduler ran or the machine slept, runs
    once. A job that runs longer than its timeout is ended.
    """

    root: Path
    schedule: Schedule
    environment: Mapping[str, str]
    """The environment of the commands."""
    log_event: Callable[[str], None]
    """Called with a line for each event."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    clock: Callable[[], datetime] = read_clock
    ending: threading.Event = field(default_factory=threading.Event)
    """Set by the caller to end the scheduler."""

    def run(self) -> None:
        """Start jobs at their times and write the heartbeat until `ending` is set, then end running
        jobs. Raises `BusyError` while another scheduler of this project runs.
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
        """Run a job to its end or timeout; returns the exit code, also written to `<job>.json`."""
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
        """Add the job to APScheduler; one that missed a time runs at once."""
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
        """Called by APScheduler: run the job; do nothing once `ending` is set."""
        if self.ending.is_set():
            return
        try:
            self.run_job(name)
        except Exception as error:  # noqa: BLE001
            # APScheduler would print a traceback for a disk that is full for a while
            self.log_event(f"{name}: not run, or its end not recorded: {one_line(error)}")

    def _run_command(self, name: str, job: ScheduledJob) -> int:
        """Run the job's command in a process of its own, with its output in the job's log; returns
        the exit code.
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
            return self._wait(process, 60 * job.timeout_minutes)

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        """Wait for the process; returns its exit code, or ends it with its descendants and returns
        124 after the timeout and 143 once `ending` is set.
        """
        until = time.monotonic() + seconds  # not the wall clock, which may be set meanwhile
        while not self.ending.is_set() and time.monotonic() < until:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
        _end_process(process)
        return STOPPED if self.ending.is_set() else TIMED_OUT

    def _write_heartbeat(self) -> None:
        """Write heartbeat.json; an error is logged and not raised."""
        now = self.clock()
        planned = next_times(self.schedule, now)
        heartbeat = Heartbeat(
            pid=os.getpid(),
            at=now.isoformat(),
            state="ended" if self.ending.is_set() else "running",
            next={name: moment.isoformat() for name, moment in planned.items()},
        )
        try:
            heartbeat.write(ProjectPaths.of(self.root).schedule / "heartbeat.json")
        except Exception as error:  # noqa: BLE001
            # a disk that is full for a while must not end the scheduler
            self.log_event(f"heartbeat could not be written: {error}")


@dataclass
class JobTrigger(BaseTrigger):
    """`next_time` as a trigger of APScheduler."""

    name: str
    job: ScheduledJob
    at_once: bool
    """Whether the first run is now, since the job missed a time."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When the job runs next; APScheduler calls this."""
        if previous_fire_time is None and self.at_once:
            return now
        # counted from the previous run, so that APScheduler sees a time that the machine slept
        # through, and runs the job once for it
        return next_time(self.name, self.job, min(previous_fire_time or now, now))


def next_times(schedule: Schedule, now: datetime) -> dict[str, datetime]:
    """Job → its next time in UTC."""
    return {name: next_time(name, job, now) for name, job in schedule.jobs.items()}


def read_last_run(root: Path, name: str) -> JobRun | None:
    """The last run of a job; None when it never ran."""
    return read_if_valid(JobRun, ProjectPaths.of(root).schedule / f"{name}.json")


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the command; after `UNWIND_SECONDS` kill it and its descendants."""
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
    """The first time (UTC), with jitter, at which `job` runs after `after` (any time zone)."""
    return min(moment for moment in _run_times(name, job, after) if moment > after)


def missed_time(
    name: str, job: ScheduledJob, last_started: datetime | None, now: datetime
) -> datetime | None:
    """The first time of the job after its last start; None where this time is still to come (also
    after the clock was set back behind the last start), and for a job that never ran.
    """
    if last_started is None:
        return None
    moment = next_time(name, job, last_started)
    return moment if moment <= now else None


def _run_times(name: str, job: ScheduledJob, around: datetime) -> Iterator[datetime]:
    """The times of the job in UTC with jitter, from two days before `around` to eight days after,
    which is enough for a weekly job; not sorted.

    The jitter is drawn from name, day and time, so that every call gives the same.
    """
    today = around.astimezone(job.zone).date()
    for day in (today + timedelta(days=n) for n in range(-2, 9)):
        if WEEKDAYS[day.weekday()] in job.days:
            for at in job.times:
                # fold 0: the first of two equal local times
                local = datetime.combine(day, at, tzinfo=job.zone).astimezone(UTC)
                jitter = random.Random(f"{name} {day} {at}").uniform(0, 60 * job.jitter_minutes)
                yield local + timedelta(seconds=round(jitter))
