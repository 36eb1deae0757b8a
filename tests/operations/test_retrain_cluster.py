"""`forecast retrain --cluster` with a scheduler and two workers of their own, as docs/cluster.md
starts them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.operations import champion
from tests.operations import retraining
from tests.operations.retraining import NAME
from tests.support import small_project
from tests.system.test_cluster import started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def retrained(root: Path, *words: str) -> str:
    done = small_project.run_process(root, "retrain", NAME, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def served(root: Path) -> dict[str, bytes]:
    """Every array of every version, by its name."""
    versions = root / ".forecast" / "champions" / NAME
    return {
        str(path.relative_to(versions)): path.read_bytes()
        for path in sorted(versions.rglob("*.npz"))
    }


def test_a_first_champion_and_the_next_come_from_two_workers_as_from_this_machine(
    tmp_path: Path,
) -> None:
    local, there = (
        retraining.write_project(tmp_path / name, models=("naive", "elman"))
        for name in ("here", "there")
    )
    for root in (local, there):  # as many as show that a challenger is no worse
        small_project.write_yaml(
            root / "configs" / "retraining.yaml", {"defaults": {"fresh_steps": 64}}
        )
        retraining.commit(root)
    with started(tmp_path, 2, memory="2GB") as (address, *_):
        for root, where in ((local, []), (there, ["--cluster", address])):
            retrained(root, *where)
            retraining.grow(root, 60)
            output = retrained(root, *where)
            assert (f"cluster {address}: 2 workers" in output) == bool(where), output
        log = (tmp_path / "log").read_text()
    assert [champion.load(root, NAME).version for root in (local, there)] == [
        4,
        4,
    ], "two scored, each fitted again"
    assert served(there) == served(local) and len(served(there)) > 4
    assert log.count("'_describe_unfit'") == 2 * 5, (
        "both workers: for the studies, for two trainings, for two refits"
    )
