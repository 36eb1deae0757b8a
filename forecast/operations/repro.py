"""Runs the pipeline: `run_dvc` starts `dvc repro` as a child process, `run_narrowed` runs the
stages of a few models without DVC, in a folder of their own.

DVC removes the outs of a stage before it runs; those of a failed stage are restored. After an
interrupt or a kill they stay missing until the next run makes them again. All failures become one
`ForecastError`, which names the stages that failed and those that depend on them.
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
from forecast.system.errors import ERROR_OF_CODE, BusyError, ForecastError, combine_exit_codes
from forecast.system.processes import POLL_SECONDS, die_with_parent, is_alive, send_signal
from forecast.system.progress import format_duration, show_nothing
from forecast.system.stage import COMMAND_VARIABLE, LOG_VARIABLE

STAGES = ("settings", "fetch", "prepare", "tune", "train", "compare", "report")
SHELLS = ("sh", "dash", "bash", "zsh", "fish", "ksh")
SHARED = ("configs", "requirements.lock", "data/pointers", "data/snapshots", ".forecast")
"""Files and folders of the project that a narrowed run links into its own folder."""
UNCACHED = ("reports/leaderboard.csv", "reports/metrics.json", "reports/verdicts.json")
"""Outs that are not in DVC's cache."""
KILLED = "ended without a message (killed, or out of memory)"
"""The message of a process that began and left none."""


def run_dvc(
    root: Path,
    targets: Sequence[str],
    environment: Mapping[str, str],
    *,
    options: Sequence[str] = ("--keep-going",),
    on_stored: Callable[[str], None] = show_nothing,
) -> None:
    """Run `dvc repro` of everything, or up to the stages `targets`.

    on_stored: called with the name of each successful stage whose outs DVC has stored, while later
    stages run; the last stages may be left out. Raises `ForecastError` (`explain_failures`) after
    restoring the outs of unfinished stages, and `BusyError` while another `dvc repro` runs.
    """
    require_idle_dvc(root)
    _remove_cut_off_lock_file(root / "dvc.lock")
    contents = {name: (root / name).read_bytes() for name in UNCACHED if (root / name).exists()}
    with files.scratch_folder() as folder:
        log = folder / "stages.jsonl"
        # where the folder has no .venv, dvc.yaml runs the `python3` of PATH
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
            # without the last line: DVC stores a stage's outs before it begins the next stage
            for line in read_stage_log(log)[:-1]:
                if line.get("code") == 0 and line["stage"] not in reported:
                    reported.add(line["stage"])
                    on_stored(line["stage"])

        command = [*dvc_command(), "repro", *options, *targets]
        code = run_watched(command, root, stage_environment, meanwhile=report_stored)
        # of each stage its last line, which has no code where it was killed
        lines = {line["stage"]: line for line in read_stage_log(log)}
    spent = [
        f"{stage} {format_duration(line['ended'] - line['began'])}"
        for stage, line in lines.items()
        if "ended" in line
    ]
    if spent:
        print(f"\nStages: {', '.join(spent)}", flush=True)
    if code:
        unfinished = unfinished_stages(root, targets)
        _restore_outs(root, unfinished, contents)
        failed = {
            stage: (line.get("code", 1), line.get("message", KILLED))
            for stage, line in lines.items()
            if line.get("code") != 0
        }
        raise explain_failures(failed, unfinished)


def _restore_outs(root: Path, stages: Sequence[str], contents: Mapping[str, bytes]) -> None:
    """Restore the outs of stages that failed, which DVC has removed: from its cache, or as the
    `contents` of the files that are not in it.
    """
    if stages:
        command = [*dvc_command(), "checkout", "--quiet", "--allow-missing", *stages]
        subprocess.run(command, cwd=root, capture_output=True, check=False)
    for name, content in contents.items():
        if not (root / name).exists():
            files.write_bytes(root / name, content)


def read_stage_log(log: Path) -> list[dict[str, Any]]:
    """The lines that the stages have written so far: one when a stage begins, and one with its
    `code` when it ends, unless it was killed.
    """
    if not log.exists():
        return []
    whole_lines = log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole_lines]


def _remove_cut_off_lock_file(path: Path) -> None:
    """Remove a dvc.lock that a kill left half written.

    DVC does not write it atomically and refuses to run with half of it: the last line is cut off,
    or a stage lacks a part. Nothing is lost: the next run takes finished stages from DVC's run
    cache.
    """
    with suppress(FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
        if text.endswith("\n") and _is_complete(yaml.safe_load(text)):
            return
    path.unlink(missing_ok=True)


def _is_complete(record: object) -> bool:
    """Whether the content of a dvc.lock, and every stage in it, lacks no value."""
    if not isinstance(record, dict) or None in record.values():
        return False
    stages = record.get("stages", {}).values()
    return all(isinstance(stage, dict) and None not in stage.values() for stage in stages)


def dvc_command() -> list[str]:
    """The command of this environment's DVC, which need not be in PATH."""
    return [sys.executable, "-m", "dvc"]


def require_idle_dvc(root: Path) -> None:
    """Raises `BusyError`, naming the PID, while a command of DVC writes in `root`. The lock file of
    one that has ended is removed, also where it is half written, since DVC would wait for it.
    """
    lock = root / ".dvc" / "tmp" / "rwlock"
    try:
        writers = _read_writers(lock)
        written = lock.stat().st_mtime
    except OSError:
        return
    except (ValueError, KeyError, AttributeError):
        # DVC does not write it atomically, and refuses to run with half of it
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
    """The PIDs of processes that write outs, from DVC's lock file; `ValueError` for half a file."""
    try:
        return _pids_in(lock)
    except ValueError:
        time.sleep(0.2)  # a running DVC may just be writing it
        return _pids_in(lock)


def _pids_in(lock: Path) -> list[int]:
    return [info["pid"] for info in files.read_json(lock).get("write", {}).values()]


def run_watched(
    command: list[str],
    root: Path,
    environment: Mapping[str, str],
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Run a command and return its exit status.

    meanwhile: called every `POLL_SECONDS` until the command ends. Any exception, such as Ctrl-C,
    ends the command within about 5 seconds (`stop_dvc`).
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
        with suppress(psutil.NoSuchProcess):  # the command may have just ended
            stop_dvc(psutil.Process(process.pid))
        process.wait()
        require_idle_dvc(root)
        raise


def stop_dvc(dvc: psutil.Process, grace_seconds: float = 3.0) -> None:
    """Kill DVC and all processes that it started.

    DVC is suspended first, so that it starts no other stage. Its stages, also those started through
    a shell, get SIGTERM and `grace_seconds` to unwind.
    """
    try:
        dvc.suspend()
        descendants = dvc.children(recursive=True)
        children = dvc.children()
    except psutil.NoSuchProcess:
        return
    stages = list(children)
    for child in children:
        # a child that has just ended must not leave DVC suspended
        with suppress(psutil.NoSuchProcess):
            if child.name() in SHELLS:
                stages += child.children()
    send_signal(stages, signal.SIGTERM)
    _wait(stages, grace_seconds)
    send_signal([*descendants, dvc], signal.SIGKILL)
    _wait(descendants, 0.5)


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Wait until all processes have ended or are zombies, as a suspended parent leaves them, which
    `psutil.wait_procs` takes for running.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(
        process.is_running() and is_alive(process.pid) for process in processes
    ):
        time.sleep(0.02)


def explain_failures(
    failed: dict[str, tuple[int, str]], unfinished: Sequence[str]
) -> ForecastError:
    """One error that names every failed stage and every stage that was not run because of it.

    failed: stage → (exit code, message).
    """
    if not failed:
        return ForecastError("DVC could not run the pipeline; its own message stands above.")
    waiting = [stage for stage in unfinished if stage not in failed]
    lines = [f"Failed: {stage}: {message}" for stage, (_, message) in failed.items()]
    lines += [f"Not made because of that: {', '.join(waiting)}."] if waiting else []
    advice = "The rest is finished. Repair the cause, then the same command again."
    code = combine_exit_codes(code for code, _ in failed.values())
    combined = ERROR_OF_CODE.get(code, ForecastError)("\n".join([*lines, advice]))
    combined.exit_code = code  # that of an interrupted stage has no class
    return combined


def unfinished_stages(root: Path, targets: Sequence[str]) -> list[str]:
    """The stages that `dvc status` finds out of date; empty where DVC fails.

    Stages without a dataset come first, then those of each dataset in the order of the pipeline,
    with a user's own stages last.
    """
    command = [*dvc_command(), "status", "--json", *targets, *(["--with-deps"] if targets else [])]
    output = subprocess.run(
        command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False
    ).stdout
    try:
        stages = list(json.loads(output[output.index("{") :]))
    except ValueError:
        return []
    return sorted(stages, key=_pipeline_order)


def _pipeline_order(stage: str) -> tuple[str, int]:
    """The sort key of a stage: its dataset, then its place in the pipeline."""
    name, _, dataset = stage.partition("@")
    return dataset, STAGES.index(name) if name in STAGES else len(STAGES)


def narrowed_name(dataset: str, models: Sequence[str]) -> str:
    """The folder name of a narrowed run; long lists of models are shortened to a digest, since file
    names have at most 255 bytes.
    """
    name = "-".join([dataset, *models])
    if len(name) <= 100:
        return name
    return f"{dataset}-{len(models)}-models-{files.sha256_of(list(models))[:12]}"


def link_files(root: Path, folder: Path, names: Mapping[str, str]) -> None:
    """Link files and folders of the project `root` into `folder`; names: there → in the project."""
    for name, target in names.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(root / target, link.parent))


def run_narrowed(
    root: Path, dataset: str, models: Sequence[str], environment: Mapping[str, str]
) -> Path:
    """Run the stages from fetch to compare for `models`, and the baselines they are compared with,
    in a folder of their own; returns the folder.

    The outs of whole runs stay as they are; the caches in `.forecast/` are shared with them.
    """
    folder = root / NARROWED / narrowed_name(dataset, models)
    link_files(root, folder, {name: name for name in SHARED})
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
            failure = ERROR_OF_CODE.get(code, ForecastError)(
                f"Stage {stage} of {dataset} failed (exit {code}); its message stands above."
            )
            failure.exit_code = max(code, 1)  # negative where a signal killed it
            raise failure
    return folder
