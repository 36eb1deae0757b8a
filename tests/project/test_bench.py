"""The rules of `make bench`: turns, ratios with a bound, files of one machine, peers that are missing or fail."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench import page, speed, turns
from bench.peers.locks import split
from bench.results_file import ROOT, ResultsFile
from forecast.system.errors import InputError

HERE = {"processor": "one", "cores": 2}


def test_a_ratio_is_paired_by_turn_and_its_bound_is_that_of_a_t_test() -> None:
    slowing = np.array([1.0, 2.0, 4.0, 8.0])  # the machine slows down; the pairs do not see it
    found = turns.ratio(slowing, slowing * [1.5, 1.6, 1.5, 1.6])
    logs = np.log([1.5, 1.6, 1.5, 1.6])
    assert found.mean == pytest.approx(np.exp(logs.mean()))
    assert found.lower == pytest.approx(np.exp(logs.mean() - 2.353363 * logs.std(ddof=1) / 2))
    assert turns.ratio([1.0], [2.0]).lower == 0.0


def test_rows_of_another_machine_are_not_added_to(tmp_path: Path) -> None:
    ResultsFile(tmp_path / "speed.json", HERE).write("a", {"ms": 1.0})
    assert ResultsFile(tmp_path / "speed.json", HERE).done("a")
    with pytest.raises(InputError, match=r"another machine .*cores 2.*cores 4.*Move the file away"):
        ResultsFile(tmp_path / "speed.json", HERE | {"cores": 4})


def test_a_row_that_was_not_run_is_tried_again(tmp_path: Path) -> None:
    store = ResultsFile(tmp_path / "speed.json", HERE)
    store.write("a", {"not run": "no time"})
    store.write("b", {"ms": 1.0, "peers": {"torch": {"not run": "not installed"}}})
    assert not store.done("a") and not store.done("b") and not store.done("c")


def test_an_absent_peer_becomes_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(turns, "PEERS", tmp_path / "python")
    task = {"what": "forward", "cell": "LSTM", "size": "small", "units": 2, "steps": 3, "batch": 4}
    row = speed.compared(task, turns=2)
    assert row["peers"]["torch"]["not run"] == "not installed: make bench-setup"
    (line,) = page.speed_lines({"k": row})
    assert "not run" in line and "make bench-setup" in line and f"{row['ours']['ms']:.2f}" in line


def test_a_peer_that_fails_says_its_last_line() -> None:
    with pytest.raises(turns.NotRun, match="failed: KeyError"):
        turns.Contender({"who": "ours", "what": "nothing"}, copies=1)


def test_the_faster_keras_counts_and_a_failed_one_does_not() -> None:
    found = {"torch": {"ms": [1.0]}, "keras": {"ms": [3.0]}, "keras-xla": {"ms": [2.0]}}
    assert speed.faster_keras(found)["keras"]["note"] == "XLA"
    assert speed.faster_keras(found | {"keras-xla": {"not run": "failed"}})["keras"]["ms"] == [3.0]


def test_a_bar_is_met_by_the_bound_and_not_by_the_ratio() -> None:
    peer = {"ms": 2.0, "ratio": 1.6, "lower": 1.4, "bar": 1.5}
    assert "MISSED" in page._peer("torch", peer)
    assert "met" in page._peer("torch", peer | {"lower": 1.5})


def test_the_locks_name_no_registry_and_keep_cuda_apart() -> None:
    locks = {path.name: path.read_text() for path in (ROOT / "bench" / "peers").glob("*.lock")}
    assert not [name for name, lock in locks.items() if re.search(r"://|--(extra-)?index|--find-links", lock)]
    assert set(locks) == set(split("torch==1 \\\n    --hash=y\n"))
    assert "nvidia-cublas==" in locks["cuda.lock"] and not re.search(
        "(?m)^(nvidia|torch=)", locks["requirements.lock"]
    )


def test_torch_has_one_lock_for_its_cpu_wheel_and_one_for_what_pypi_has() -> None:
    lock = "darts==1 \\\n    --hash=d\nnvidia-a==1 \\\n    --hash=x\ntorch==2.13.0 \\\n    --hash=y\ntorchmetrics==1\n"
    parts = split(lock)
    assert parts["requirements.lock"] == "darts==1 \\\n    --hash=d\ntorchmetrics==1\n"
    assert parts["torch.lock"].startswith("torch==2.13.0") and "--hash=y" not in parts["torch.lock"]
    assert "nvidia-a" in parts["cuda.lock"] and "--hash=y" in parts["cuda.lock"]
