"""Messages stay short whatever is quoted, and too little memory is called by its name."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecast.cli import main
from forecast.system import errors, stage
from forecast.system.errors import explain_out_of_memory, plural, quote, quote_names
from tests.support import small_project


def test_a_long_value_is_quoted_by_its_two_ends() -> None:
    assert quote("a" * 40 + "b" * 10**6 + "c" * 40) == repr("a" * 30 + "…" + "c" * 30)
    assert quote("bell\a") == r"'bell\x07'"


def test_very_many_and_very_long_names_make_a_short_message() -> None:
    quoted = quote_names([f"{k:03d}{'x' * 10**5}" for k in range(150)])
    assert len(quoted) < 8000 and quoted.endswith("and 50 more")


def too_large() -> None:
    np.empty((10**9, 10**9))


def test_out_of_memory_names_memory_and_the_array(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("forecast.cli.app", lambda **options: too_large())
    with pytest.raises(SystemExit) as ended:
        main([])
    message = capsys.readouterr().err
    assert (
        ended.value.code == 1
        and "Out of memory" in message
        and "shape (1000000000, 1000000000)" in message
    )
    assert "permissions" not in message and "Traceback" not in message


def test_a_stage_without_memory_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = stage._run_and_explain(too_large, {}, "prepare")
    assert (
        code == 1
        and message.startswith("prepare: Out of memory: Unable to allocate")
        and "--jobs" in message
    )
    assert "Traceback" not in capsys.readouterr().err


def test_a_library_that_gets_no_memory_from_the_system_is_understood() -> None:
    assert "Cannot allocate memory" in str(
        explain_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    )
    assert explain_out_of_memory(OSError(errno.EACCES, "Permission denied")) == ""


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    texts = [plural(number, "row") for number in (0, 1, 1.2, 2, 1200, np.int64(1))]
    assert texts == ["0 rows", "1 row", "1 row", "2 rows", "1200 rows", "1 row"]


def test_every_exit_code_means_one_thing() -> None:
    codes = [known.code for known in errors.EXIT_CODES]
    assert len(set(codes)) == len(codes) == len({known.meaning for known in errors.EXIT_CODES})
    kinds, waiting = [], [errors.ForecastError]
    while waiting:
        kind = waiting.pop()
        kinds.append(kind)
        waiting += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} <= set(codes)
    for code, kind in errors.ERROR_OF_CODE.items():
        assert kind.exit_code == code
    assert errors.describe_exit_code(5) == "unhealthy" and errors.describe_exit_code(77) == "failed"


def test_a_library_that_memory_does_not_suffice_for_is_told_from_a_missing_one() -> None:
    text = "Traceback (most recent call last):\n  ...\nImportError: lib.so: failed to map segment"
    message = errors.explain_out_of_memory(ImportError(f"{text} from shared object\n\nFailed"))
    assert message is not None and message.startswith("Out of memory: ImportError: lib.so: failed")
    assert "Traceback" not in message
    assert errors.explain_out_of_memory(ImportError("no module named x")) == ""


def test_a_path_that_the_locale_cannot_encode_is_wrong_input(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    config = root / "configs" / "datasets.yaml"
    config.write_text(config.read_text().replace("data/wave.csv", "data/wäve.csv"), "utf-8")
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = small_project.run_process(root, "fetch", "wave", **environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "PYTHONUTF8=1" in done.stderr


@pytest.mark.parametrize(
    ("kilobytes", "code"),
    [
        (300_000, "from forecast.cli import main; main(['data', 'weather'])"),
        (1_200_000, "from forecast.networks import layers"),
    ],
)
def test_a_limit_of_memory_below_what_libraries_need_is_told_before_they_load(kilobytes, code):
    """They ended in a segmentation fault, an abort or a hang, depending on the limit."""
    words = ["bash", "-c", f'ulimit -v {kilobytes}; exec "$0" "$@"', sys.executable, "-c", code]
    process = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    last = process.stderr.splitlines()[-1]
    assert process.returncode == 1
    assert re.search(
        r"Out of memory: .* MB of addresses .* need [0-9,]+ MB\. Raise the limit", last
    )
