"""When a job runs: pure functions of the schedule and a moment, so that two processes agree on every time.

Written here rather than taken from the scheduler's cron trigger: that one fires twice and more in the hour that a
clock repeats. Here every configured time of every configured day gives one moment: the first of two equal local times,
and the moment after the gap for a local time that does not exist.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from forecast.config.operation import DAYS, Job


def next_run(name: str, job: Job, after: datetime) -> datetime:
    """The first moment (UTC) at which `job` runs after `after` (any zone), its jitter included."""
    return next(moment for moment in _moments(name, job, after) if moment > after)


def last_run(name: str, job: Job, before: datetime) -> datetime:
    """The last moment (UTC) at which `job` should have run, at `before` or earlier."""
    past = _moments(name, job, before - timedelta(days=9))
    last = next(past)
    for moment in past:
        if moment > before:
            return last
        last = moment
    return last


def missed(name: str, job: Job, last_started: datetime | None, now: datetime) -> datetime | None:
    """The newest time that passed without a run; None when there is none, or when the job never ran.

    However many times passed, it is one: they coalesce. A start that lies in the future was written by a clock that
    has been set back since: then nothing was missed.
    """
    if last_started is None or last_started > now:
        return None
    due = last_run(name, job, now)
    return due if due > last_started else None


def _moments(name: str, job: Job, around: datetime) -> Iterator[datetime]:
    """Every moment of the job from two days before `around` on, rising."""
    day = around.astimezone(job.zone).date() - timedelta(days=2)
    while True:
        if DAYS[day.weekday()] in job.days:
            yield from sorted(_on(name, job, day))
        day += timedelta(days=1)


def _on(name: str, job: Job, day: date) -> list[datetime]:
    found = []
    for at in job.times:
        local = datetime.combine(day, at, tzinfo=job.zone)  # fold 0: the first of two equal local times
        jitter = random.Random(f"{name} {day} {at}").uniform(0, 60 * job.jitter_minutes)
        found.append(local.astimezone(UTC) + timedelta(seconds=round(jitter)))
    return found
