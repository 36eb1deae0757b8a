"""DVC as a child process: `run_dvc` starts `dvc repro`, passes on what it prints and names what
failed; `run_narrowed` runs the stages of a few models past DVC, in a folder of their own.

DVC removes the outs of a stage before it runs, so those of a stage that failed are brought back. A
child ends with this process, and Ctrl-C ends it within seconds.

What failed becomes one `ForecastError` with the exit code of its stage, naming what had to wait;
while another `dvc repro` works it is a `BusyError`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from forecast.config.paths import NARROWED
from forecast.system import files
from forecast.system.errors import BusyError, ForecastError, combine_exit_codes
from forecast.system.processes import POLL_SECONDS, die_with_parent, is_alive, send_signal
from forecast.system.stage import COMMAND_VARIABLE, LOG_VARIABLE, format_duration, show_nothing

STAGES = ("settings", "fetch", "prepare", "tune", "train", "compare", "report")
SHELLS = ("sh", "dash", "bash", "zsh", "fish", "ksh")
# What a narrowed run reads beside its own folder, and the finished work it shares with whole runs.
SHARED = ("configs", "requirements.lock", "data/pointers", "data/snapshots", ".forecast")
UNCACHED = ("reports/leaderboard.csv", "reports/metrics.json", "reports/verdicts.json")


def run_dvc(
    root: Path,
    targets: Sequence[str],
    environment: Mapping[str, str],
    *,
    options: Sequence[str] = ("--keep-going",),
    on_stored: Callable[[str], None] = show_nothing,
) -> None:
    """`dvc repro` of everything, or up to the stages `targets`. Where it fails, outs of the stages
    that are not finished are brought back, and the `ForecastError` names what failed and what had
    to wait; `BusyError` while another one works.

    on_stored: called in this process with each stage that has ended well and whose outs DVC has
    put in place, while the next ones run; the last ones may be left out.
    """
    require_idle_dvc(root)
    _remove_half_written_record(root / "dvc.lock")
    contents = {name: (root / name).read_bytes() for name in UNCACHED if (root / name).exists()}
    with files.scratch_folder() as folder:
        log = folder / "stages.jsonl"
        # dvc.yaml takes `python3` of PATH where the folder has no .venv
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
        stage_environment = {
            **environment,
            LOG_VARIABLE: str(log),
            "PYTHONUNBUFFERED": "1",
            "PATH": path,
            COMMAND_VARIABLE: str(os.getpid()),
        }
        reported: set[str] = set()

        def report_stored() -> None:
            # DVC moves a stage's outs into its cache and back before it begins the next stage
            for line in _read_stage_log(log)[:-1]:
                if line.get("code") == 0 and line["stage"] not in reported:
                    reported.add(line["stage"])
                    on_stored(line["stage"])

        command = [*dvc_command(), "repro", *options, *targets]
        code = run_watched(command, root, stage_environment, meanwhile=report_stored)
        lines = [line for line in _read_stage_log(log) if "code" in line]
    if lines:
        spent = [
            f"{line['stage']} {format_duration(line['ended'] - line['began'])}" for line in lines
        ]
        print(f"\nStages: {', '.join(spent)}", flush=True)
    if code:
        # DVC removes outs before a stage runs; those of a failed stage come back from its cache, or
        # from memory.
        unfinished = unfinished_stages(root, targets)
        if unfinished:
            command = [*dvc_command(), "checkout", "--quiet", "--allow-missing", *unfinished]
            subprocess.run(command, cwd=root, capture_output=True, check=False)
        for name, content in contents.items():
            if not (root / name).exists():
                files.write_bytes(root / name, content)
        failed = {line["stage"]: (line["code"], line["message"]) for line in lines if line["code"]}
        raise explain_failures(failed, unfinished)


def _read_stage_log(log: Path) -> list[dict[str, Any]]:
    """The lines of a run's stages so far: one of each that has begun, and one of each that ended by
    itself, with its `code`.
    """
    if not log.exists():
        return []
    whole_lines = log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole_lines]


def _remove_half_written_record(path: Path) -> None:
    """Remove a dvc.lock that a kill left empty or half written; record.json is written whole.

    DVC writes it in place and refuses to begin while it is not whole: its last line is then cut off
    or a stage lacks a part. What finished stages made lies in its cache of runs, so the next run
    takes it from there.
    """
    with suppress(FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
        if text.endswith("\n") and _is_whole(yaml.safe_load(text)):
            return
    path.unlink(missing_ok=True)


def _is_whole(record: object) -> bool:
    """Whether a dvc.lock lacks no part, of itself or of a stage."""
    if not isinstance(record, dict) or None in record.values():
        return False
    stages = record.get("stages", {}).values()
    return all(isinstance(stage, dict) and None not in stage.values() for stage in stages)


def dvc_command() -> list[str]:
    """DVC of this environment, whatever PATH says."""
    return [sys.executable, "-m", "dvc"]


def require_idle_dvc(root: Path) -> None:
    """`BusyError` naming the PID while a `dvc repro` outside `forecast run` works; a dead one's
    lock is removed, also one that it was killed in the middle of writing.
    """
    lock = root / ".dvc" / "tmp" / "rwlock"
    try:
        writers = _read_writers(lock)
        written = lock.stat().st_mtime
    except OSError:
        return
    except (ValueError, KeyError, AttributeError):
        # DVC does not write it in one step, and refuses to begin while half of it is there.
        lock.unlink(missing_ok=True)
        return
    working = [pid for pid in writers if is_alive(pid, noted_at=written)]
    if working:
        raise BusyError(
            f"`dvc repro` is already running here (PID {working[0]}). Wait for it, or stop that"
            " process."
        )
    if writers:
        lock.unlink(missing_ok=True)


def _read_writers(lock: Path) -> list[int]:
    """PIDs of those who write outs, from DVC's lock file; `ValueError` where it is not whole."""
    try:
        return _pids_in(lock)
    except ValueError:
        time.sleep(0.2)  # a living DVC may be writing it
        return _pids_in(lock)


def _pids_in(lock: Path) -> list[int]:
    return [info["pid"] for info in files.read_json(lock).get("write", {}).values()]


def run_watched(
    command: list[str],
    root: Path,
    environment: Mapping[str, str],
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """The exit status of `command`, while which `meanwhile` is called again and again. Ctrl-C ends
    it in about 5 seconds (`stop_dvc`), and the lock that it leaves is removed
    (`require_idle_dvc`); a bug in `meanwhile` ends it, too.
    """
    sys.stdout.flush()
    env = dict(environment)
    process = subprocess.Popen(command, cwd=root, env=env, preexec_fn=die_with_parent)
    try:
        while meanwhile is not None and process.poll() is None:
            meanwhile()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=POLL_SECONDS)
        return process.wait()
    except BaseException:
        with suppress(psutil.NoSuchProcess):  # Ctrl-C in a terminal is meant for it too
            stop_dvc(psutil.Process(process.pid))
        process.wait()
        require_idle_dvc(root)
        raise


def stop_dvc(dvc: psutil.Process, grace_seconds: float = 3.0) -> None:
    """Kill DVC and what it started. It is suspended first, so that it starts no other stage while
    its stages unwind for `grace_seconds` after a SIGTERM, those behind a shell included.
    """
    try:
        dvc.suspend()
        descendants = dvc.children(recursive=True)
        children = dvc.children()
    except psutil.NoSuchProcess:
        return
    stages = list(children)
    for child in children:
        # one that has ended meanwhile must not leave DVC suspended
        with suppress(psutil.NoSuchProcess):
            if child.name() in SHELLS:
                stages += child.children()
    send_signal(stages, signal.SIGTERM)
    _wait(stages, grace_seconds)
    send_signal([*descendants, dvc], signal.SIGKILL)
    _wait(descendants, 0.5)


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Until all have ended: a suspended parent leaves them as zombies, which psutil's own wait
    takes for running.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(
        process.is_running() and is_alive(process.pid) for process in processes
    ):
        time.sleep(0.02)


def explain_failures(
    failed: dict[str, tuple[int, str]], unfinished: Sequence[str]
) -> ForecastError:
    """The error that names every stage that failed and every one that had to wait for it.

    `failed`: the message and exit code of each stage that failed; a killed one has no message, but
    it is the first `unfinished` one of its dataset.
    """
    failures = dict(failed)
    for stage in unfinished:
        if _dataset(stage) and not any(_dataset(stage) == _dataset(name) for name in failures):
            failures[stage] = (1, "ended without a message (killed, or out of memory)")
    if not failures:
        return ForecastError("DVC could not run the pipeline; its own message stands above.")
    waiting = [stage for stage in unfinished if stage not in failures]
    lines = [f"Failed: {stage}: {message}" for stage, (_, message) in failures.items()]
    lines += [f"Not made because of that: {', '.join(waiting)}."] if waiting else []
    advice = "The rest is finished. Repair the cause, then the same command again."
    combined = ForecastError("\n".join([*lines, advice]))
    combined.exit_code = combine_exit_codes(code for code, _ in failures.values())
    return combined


def unfinished_stages(root: Path, targets: Sequence[str]) -> list[str]:
    """The stages that `dvc status` finds out of date: those of all datasets together, then one
    dataset after the other in the order of the pipeline, a user's own stages last of each. Empty
    where DVC fails.
    """
    command = [*dvc_command(), "status", "--json", *targets, *(["--with-deps"] if targets else [])]
    output = subprocess.run(
        command, cwd=root, capture_output=True, encoding="utf-8", check=False
    ).stdout
    try:
        stages = list(json.loads(output[output.index("{") :]))
    except ValueError:
        return []
    return sorted(stages, key=_pipeline_order)


def _pipeline_order(stage: str) -> tuple[str, int]:
    """Sorts stages by dataset, then by place in the pipeline, where a user's own are last."""
    name, _, dataset = stage.partition("@")
    return dataset, STAGES.index(name) if name in STAGES else len(STAGES)


def _dataset(stage: str) -> str:
    return stage.partition("@")[2]


def narrowed_name(dataset: str, models: Sequence[str]) -> str:
    """Of a narrowed run; many models are told apart by a digest, since file systems take names of
    255 bytes.
    """
    name = "-".join([dataset, *models])
    if len(name) <= 100:
        return name
    return f"{dataset}-{len(models)}-models-{files.sha256_of(list(models))[:12]}"


def run_narrowed(
    root: Path, dataset: str, models: Sequence[str], environment: Mapping[str, str]
) -> Path:
    """Only `models` (and the baselines they are judged by) in a folder of their own; the folder.

    DVC's outs stay whole; finished tuning and training is shared with whole runs through
    `.forecast/`.
    """
    folder = root / NARROWED / narrowed_name(dataset, models)
    for name in SHARED:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(root / name, link.parent))
    for stage in STAGES[1:-1]:
        command = [
            sys.executable,
            "-m",
            f"pipelines.{stage}",
            dataset,
            "--root",
            str(folder.relative_to(root)),
        ]
        if stage in ("tune", "train"):
            command += ["--models", ",".join(models)]
        print(f"Running stage {stage!r} of {dataset}, only {', '.join(models)}", flush=True)
        code = run_watched(command, root, environment)
        if code:
            failure = ForecastError(
                f"Stage {stage} of {dataset} failed (exit {code}); its message stands above."
            )
            failure.exit_code = max(code, 1)
            raise failure
    return folder
