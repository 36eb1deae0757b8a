"""The schedule: when a job runs, what is made up for, and how one scheduler starts, skips, times
out and ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from forecast.cli.operation import load_jobs
from forecast.config.operation import Schedule, ScheduledJob
from forecast.config.paths import ProjectPaths
from forecast.config.reading import validate_config
from forecast.operations.records import Heartbeat, JobRun, read_if_valid
from forecast.operations.schedule import (
    STOPPED,
    TIMED_OUT,
    JobTrigger,
    Scheduler,
    missed_time,
    next_time,
    read_last_run,
)
from forecast.operations.status import read_status
from forecast.system import files
from forecast.system.errors import BusyError, ForecastError, InputError
from tests.faults.processes import crowding, eventually
from tests.support import small_project

CONFIGS = small_project.ROOT / "configs"


def job(**keys: object) -> ScheduledJob:
    return validate_config(ScheduledJob, {"run": "status", "at": "05:30", **keys}, where="job")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(of: ScheduledJob, first: str, count: int) -> list[str]:
    times, at = [], moment(first)
    for _ in range(count):
        at = next_time("job", of, at)
        times.append(at.strftime("%m-%d %H:%M"))
    return times


def test_a_job_runs_on_its_days_at_its_local_time() -> None:
    assert runs(job(days=["mon", "fri"], time_zone="America/New_York"), "2026-01-01T12:00", 3) == [
        "01-02 10:30",
        "01-05 10:30",
        "01-09 10:30",
    ]


def test_a_local_time_that_comes_twice_runs_once_and_a_skipped_one_after_the_gap() -> None:
    dublin = job(at="01:30", time_zone="Europe/Dublin")
    assert runs(dublin, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert runs(dublin, "2026-03-28T12:00", 2) == ["03-29 01:30", "03-30 00:30"]


def test_jitter_puts_off_by_at_most_what_is_allowed_and_by_the_same_each_time_it_is_asked() -> None:
    put_off = job(jitter_minutes=10)
    times = [next_time("a", put_off, moment(f"2026-01-{day:02}T00:00")) for day in range(1, 29)]
    assert times == [
        next_time("a", put_off, moment(f"2026-01-{day:02}T00:00")) for day in range(1, 29)
    ]
    late = [at - at.replace(hour=5, minute=30, second=0) for at in times]
    assert min(late) >= timedelta(0) and max(late) <= timedelta(minutes=10) and len(set(late)) > 20


@pytest.mark.parametrize("at", [["06:00", "20:00"], ["00:00", "23:59"], ["08:00"]])
def test_no_run_is_skipped_where_jitter_puts_one_behind_the_first_of_the_next_day(at) -> None:
    put_off = job(at=at, days=["mon", "tue"], jitter_minutes=719)
    thursday_after_twelve_weeks = moment("2026-03-26T00:00")
    days = []
    after = moment("2026-01-03T00:00")
    while (after := next_time("a", put_off, after)) < thursday_after_twelve_weeks:
        days.append(after)
    assert len(days) == len(set(days)) == 12 * 2 * len(at)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("2026-01-05T05:30", None),
        ("2026-01-04T05:31", "2026-01-05T05:30"),
        ("2025-12-01T05:30", "2025-12-02T05:30"),
        ("2026-02-01T05:30", None),
    ],
    ids=["ran", "one missed", "a month missed is one run", "clock set back"],
)
def test_what_was_missed_is_made_up_for_once(last: str, expected: str | None) -> None:
    missed = missed_time("a", job(), moment(last), moment("2026-01-05T12:00"))
    assert missed == (moment(expected) if expected else None)


def test_times_slept_through_coalesce_into_one_run() -> None:
    times = JobTrigger("a", job(), at_once=False)
    first = times.get_next_fire_time(None, moment("2026-01-01T00:00"))
    assert times.get_next_fire_time(first, moment("2026-01-09T12:00")) == moment("2026-01-02T05:30")
    assert times.get_next_fire_time(
        moment("2026-01-09T05:30"), moment("2026-01-03T12:00")
    ) == moment("2026-01-04T05:30")  # the clock was set back


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        ({"at": 5}, "quotes"),
        ({"at": "5:30"}, "wanted a time of day"),
        ({"days": ["monday"]}, "mon"),
        ({"time_zone": "Europe/Dubln"}, "Europe/Dublin"),
        ({"run": "retrian weather"}, "retrain"),
        ({"every": 5}, "unknown key 'every'"),
    ],
)
def test_a_wrong_job_is_refused_with_what_is_right(keys: dict[str, object], pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        job(**keys)


def test_a_time_without_quotes_is_the_one_that_was_meant() -> None:
    assert job(at=yaml.safe_load("15:30")).at == ("15:30",)


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("retrain wave --early", "No such option: --early"),
        ("retrain", "Missing argument"),
        ("predict wave --format xml", "'xml' is not one of"),
        ("status --help", "`forecast status --help` says"),
    ],
)
def test_words_that_a_command_does_not_take_are_refused_before_its_time(
    tmp_path: Path, words: str, pattern: str
) -> None:
    small_project.write_yaml(
        tmp_path / "schedule.yaml", {"jobs": {"a": {"run": words, "at": "05:30"}}}
    )
    with pytest.raises(InputError, match=r"schedule\.yaml: a: ") as fault:
        load_jobs(tmp_path)
    assert pattern in str(fault.value)


@pytest.mark.parametrize("words", ["retrain wavve", "fetch wave wavve", "status wavve"])
def test_a_job_of_an_unknown_dataset_is_refused_with_the_nearest_name(
    tmp_path: Path, words: str
) -> None:
    root = small_project.write(tmp_path / "project")
    small_project.write_yaml(
        root / "configs" / "schedule.yaml", {"jobs": {"a": {"run": words, "at": "05:30"}}}
    )
    with pytest.raises(InputError, match=r"a: unknown dataset 'wavve'\. Did you mean 'wave'"):
        load_jobs(root / "configs")


def test_the_projects_own_schedule_is_right() -> None:
    assert set(load_jobs(CONFIGS).jobs) == {
        "weather",
        "stocks",
        "weather-forecast",
        "stocks-forecast",
    }


def scheduler(root: Path, *, timeout: float = 1.0, **environment: str) -> Scheduler:
    schedule = validate_config(
        Schedule,
        {"jobs": {"a": {"run": "status", "at": "05:30", "timeout_minutes": timeout}}},
        where="schedule",
    )
    package = root / "forecast"
    package.mkdir(exist_ok=True)
    (package / "__main__.py").write_text(COMMAND)
    return Scheduler(
        root, schedule, {**os.environ, "PYTHONPATH": "", **environment}, log_event=lambda line: None
    )


COMMAND = """\
import os, signal, sys, time
print("told", sys.argv[1:], flush=True)
if os.environ.get("SLOW"):
    signal.signal(signal.SIGTERM, lambda *_: (print("unwound", flush=True), sys.exit(1)))
    open("started", "w").close()
    time.sleep(60)
sys.exit(int(os.environ.get("CODE", 0)))
"""


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    assert eventually(true, seconds)


@pytest.mark.parametrize("code", [0, 4, 75])
def test_a_tick_keeps_the_exit_code_and_what_was_printed(tmp_path: Path, code: int) -> None:
    assert scheduler(tmp_path, CODE=str(code)).run_job("a") == code
    last_run = read_last_run(tmp_path, "a")
    assert (
        last_run is not None
        and last_run.code == code
        and last_run.started <= (last_run.ended or "")
    )
    assert "told ['status']" in (tmp_path / ".forecast" / "schedule" / "a.log").read_text()


def test_a_job_that_a_full_disk_keeps_from_running_is_one_line_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_full_disk, lines = scheduler(tmp_path), list[str]()
    of_full_disk.log_event = lines.append

    def fill(*_words: object) -> None:
        raise ForecastError("No space left while writing it.")

    with monkeypatch.context() as patch:
        patch.setattr(JobRun, "write", fill)
        of_full_disk._run_unless_ending("a")
    assert "a: not run, or its end not recorded: No space left while writing it." in lines
    of_full_disk._run_unless_ending("a")
    assert (last := read_last_run(tmp_path, "a")) is not None and last.code == 0


def test_a_job_removes_what_a_killed_scheduler_left_of_its_record(tmp_path: Path) -> None:
    folder = tmp_path / ".forecast" / "schedule"
    folder.mkdir(parents=True)
    half_written, of_another_job = folder / ".tmp-a.json-12ab", folder / ".tmp-b.json-12ab"
    half_written.touch()
    of_another_job.touch()
    scheduler(tmp_path).run_job("a")
    assert not half_written.exists() and of_another_job.exists()


def test_a_scheduler_begins_without_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / ".forecast" / "schedule"
    folder.mkdir(parents=True)
    (folder / ".tmp-heartbeat.json-12ab").touch()
    scheduler_that_ends = scheduler(tmp_path)
    scheduler_that_ends.ending.set()
    scheduler_that_ends.run()
    assert not list(folder.glob(".tmp-*"))


def test_a_second_scheduler_announces_nothing_and_exits_75(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    jobs = {"a": {"run": "status", "at": "05:30"}}
    small_project.write_yaml(root / "configs" / "schedule.yaml", {"jobs": jobs})
    with files.hold_lock(ProjectPaths.of(root).lock("schedule"), purpose="the first"):
        done = small_project.run_warm(root, "schedule", "run")
    assert done.returncode == 75 and "next at" not in done.stderr


def test_the_next_run_is_a_time_for_programs(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    jobs = {"a": {"run": "status", "at": "05:30", "time_zone": "Asia/Tokyo"}}
    small_project.write_yaml(root / "configs" / "schedule.yaml", {"jobs": jobs})
    done = small_project.command(root, "schedule", "next", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert row["next"].endswith("T20:30:00+00:00")
    assert "05:30 JST" in small_project.command(root, "schedule", "next").stdout


def test_a_command_that_takes_too_long_is_ended_and_may_unwind(tmp_path: Path) -> None:
    minutes = 0.02 * crowding()  # the command has to be ready for the signal by then
    assert scheduler(tmp_path, timeout=minutes, SLOW="1").run_job("a") == TIMED_OUT
    assert "unwound" in (tmp_path / ".forecast" / "schedule" / "a.log").read_text()


def test_a_missed_run_is_started_at_once_and_the_end_of_the_scheduler_ends_it(
    tmp_path: Path,
) -> None:
    slow = scheduler(tmp_path, SLOW="1")
    slow.heartbeat_seconds = 0.05
    JobRun(started="2026-01-01T00:00:00+00:00").write(tmp_path / ".forecast/schedule/a.json")
    thread = threading.Thread(target=slow.run)
    thread.start()
    until((tmp_path / "started").exists)
    beat = tmp_path / ".forecast" / "schedule" / "heartbeat.json"
    until(lambda: beat.exists() and json.loads(beat.read_text())["state"] == "running")
    with pytest.raises(BusyError):
        scheduler(tmp_path).run()
    slow.ending.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    stopped = read_last_run(tmp_path, "a")
    assert stopped is not None and stopped.code == STOPPED
    assert json.loads(beat.read_text())["state"] == "ended"


def test_after_a_kill_of_the_scheduler_nothing_is_planned_and_another_one_starts(
    tmp_path: Path,
) -> None:
    small_project.write(tmp_path)
    jobs = {"a": {"run": "retrain wave", "at": ["05:30"]}}
    small_project.write_yaml(tmp_path / "configs" / "schedule.yaml", {"jobs": jobs})
    folder = tmp_path / ".forecast" / "schedule"
    now = datetime.now(UTC)
    for _ in range(2):  # the lock of the killed one is free
        words = small_project.arguments("schedule", "run")
        environment = small_project.environment()
        with subprocess.Popen(
            words, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
        ) as killed:
            until(lambda pid=killed.pid: _beats(folder, pid), 60.0)
            assert read_status(tmp_path, "wave", now=now).next_run > now.isoformat()[:10]
            JobRun(started=now.isoformat()).write(folder / "a.json")
            assert read_status(tmp_path, "wave", now=now).last_run.endswith("running")
            killed.kill()
            killed.wait()
        status = read_status(tmp_path, "wave", now=now)
        assert status.next_run == "none planned: no scheduler runs"
        assert status.last_run.endswith("its end was not recorded")


def _beats(folder: Path, pid: int) -> bool:
    heartbeat = read_if_valid(Heartbeat, folder / "heartbeat.json")
    return heartbeat is not None and heartbeat.pid == pid


def test_the_command_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    small_project.write_yaml(
        tmp_path / "configs" / "schedule.yaml", {"jobs": {"a": {"run": "status", "at": ["05:30"]}}}
    )
    words = small_project.arguments("schedule", "run")
    env = small_project.environment()
    with subprocess.Popen(
        words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "a: next at" in process.stderr.readline()
        until((tmp_path / ".forecast" / "schedule" / "heartbeat.json").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0 and "ended" in process.stderr.read()
    assert not (tmp_path / ".forecast" / "locks" / "schedule.pid").exists()
