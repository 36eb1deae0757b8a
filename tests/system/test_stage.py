"""How a pipeline stage is told what to do, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forecast.system import stage
from forecast.system.errors import DataError, InputError


def ended(
    function: object, arguments: list[str], monkeypatch: pytest.MonkeyPatch, log: Path | None = None
) -> int:
    """The exit code of `function` run as a stage, in this process and without touching its
    signals.
    """
    monkeypatch.setattr(stage, "stop_on_signals", lambda: None)
    monkeypatch.setattr(stage, "end_with_parent", lambda **_: None)
    if log is not None:
        monkeypatch.setenv(stage.LOG_VARIABLE, str(log))
    with pytest.raises(SystemExit) as end:
        stage.run_stage(function, arguments)  # type: ignore[arg-type]
    return int(end.value.code or 0)


def test_parameters_become_arguments_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: list[object] = []

    def main(dataset: str, root: str = ".", models: tuple[str, ...] = (), jobs: int = 0) -> None:
        arguments.extend([dataset, root, models, jobs])

    monkeypatch.setenv(stage.JOBS_VARIABLE, "3")
    assert ended(main, ["weather", "--models", "lstm,gru"], monkeypatch) == 0
    assert arguments == ["weather", ".", ("lstm", "gru"), 3]


def test_jobs_default_to_the_cores_unless_the_environment_says_otherwise() -> None:
    assert stage.default_jobs({}) >= 1
    assert stage.default_jobs({stage.JOBS_VARIABLE: "7"}) == 7
    assert stage.default_jobs({stage.JOBS_VARIABLE: "many"}) == stage.default_jobs({})


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("key 'x': wrong"), 2), (DataError("late"), 3)]
)
def test_an_expected_failure_is_one_message_and_its_code(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def main() -> None:
        raise error

    log = tmp_path / "stages.jsonl"
    assert ended(main, [], monkeypatch, log) == code
    message = capsys.readouterr().err
    assert str(error) in message and "Traceback" not in message and message.count("\n") == 1
    line = json.loads(log.read_text().splitlines()[-1])
    assert line["code"] == code and str(error) in line["message"]


def test_a_bug_keeps_its_traceback_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise ZeroDivisionError("a bug")

    assert ended(main, [], monkeypatch) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise OSError(28, "No space left on device", "data/x")

    assert ended(main, [], monkeypatch) == 1
    message = capsys.readouterr().err
    assert (
        "No space left on device: 'data/x'" in message
        and "forecast clean" in message
        and "Traceback" not in message
    )


def test_an_absent_input_is_named_with_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def main() -> None:
        (tmp_path / "tuning.parquet").read_bytes()

    assert ended(main, [], monkeypatch) == 2
    message = capsys.readouterr().err
    assert (
        "tuning.parquet: no such file. `dvc repro` makes" in message and "Traceback" not in message
    )


def test_the_log_tells_the_time_of_a_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "stages.jsonl"
    monkeypatch.setenv("DVC_STAGE", "train@weather")
    while_it_works: list[str] = []
    assert ended(lambda: while_it_works.append(log.read_text()), [], monkeypatch, log) == 0
    begin, end = (json.loads(line) for line in log.read_text().splitlines())
    assert json.loads(while_it_works[0]) == begin
    assert begin["stage"] == end["stage"] == "train@weather"
    assert end["ended"] >= end["began"] == begin["began"]
