"""The work tree: the checkout's commit without the checkout's edits, repaired when it was moved or
half deleted.
"""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from forecast.config.datasets import Dataset, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data import ingest, preparation, snapshots, vintages
from forecast.data.sources import Request
from forecast.operations import challenger, worktree
from forecast.operations.worktree import newest_data_root
from forecast.system.errors import ForecastError, InputError
from tests.operations import retraining
from tests.operations.retraining import NAME, commit, git
from tests.support import small_project
from tests.support.example_data import dataset, hourly


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_committed(tmp_path_factory.mktemp("committed") / "project")


def write_committed(root: Path) -> Path:
    small_project.write(root, stages="stages: {}\n")
    (root / ".gitignore").write_text(
        "/.forecast/\n/.dvc/cache\n/.dvc/tmp\n/.dvc/config.local\n.venv\n"
    )
    git(root, "init", "-q")
    commit(root)
    return root


def test_what_is_not_committed_is_named_and_not_used(committed: Path) -> None:
    path = committed / "configs" / "models.yaml"
    before = path.read_text()
    path.write_text(before + "# an edit\n")
    (committed / "pipelines" / "new.py").write_text("")
    (committed / "dvc.yaml").unlink()
    tree = worktree.open_tree(committed, NAME)
    assert sorted(tree.unused_edits) == ["configs/models.yaml", "dvc.yaml", "pipelines/new.py"]
    assert (tree.path / "configs" / "models.yaml").read_text() == before
    assert not (tree.path / "pipelines" / "new.py").exists()
    git(committed, "checkout", "configs", "dvc.yaml")
    (committed / "pipelines" / "new.py").unlink()


def test_a_disk_that_is_full_of_a_work_tree_is_told_in_one_line(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git = worktree.run_git

    def run_on_full_disk(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        if words[0] != "checkout":
            return run_git(folder, *words)
        lines = [f"error: unable to write file {name}" for name in ("dvc.yaml", "pyproject.toml")]
        lines.append("fatal: Could not reset index file to revision 'HEAD'.")
        return subprocess.CompletedProcess(words, 128, "", "\n".join(lines))

    monkeypatch.setattr(worktree, "run_git", run_on_full_disk)
    with pytest.raises(ForecastError) as failed:
        worktree.open_tree(committed, NAME)
    message = str(failed.value)
    assert "unable to write" not in message and "\n" not in message
    assert "failed (Could not reset index file to revision 'HEAD'.). Check" in message
    assert "`forecast clean`" in message


def test_a_new_tree_has_what_was_compiled_of_the_code_that_is_committed(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project", stages="stages: {}\n")
    (root / ".gitignore").write_text("/.forecast/\n__pycache__/\n.venv\n")
    code = root / "forecast"
    code.mkdir()
    for name in ("kernel.py", "edited.py"):
        (code / name).write_text("ONE = 1\n")
    git(root, "init", "-q")
    commit(root)
    assert compileall.compile_dir(code, quiet=1)
    (code / "edited.py").write_text("ONE = 2\n")
    tree = worktree.open_tree(root, NAME).path
    for name, is_equal in (("kernel.py", True), ("edited.py", False)):
        source, copied = code / name, tree / "forecast" / name
        assert copied.read_text() == "ONE = 1\n"
        assert (copied.stat().st_mtime_ns == source.stat().st_mtime_ns) == is_equal
    compiled = [path.name for path in (code / "__pycache__").iterdir()]
    assert [(tree / "forecast" / "__pycache__" / name).exists() for name in compiled] == [True] * 2
    assert git(tree, "status", "--porcelain", "forecast") == ""


def test_it_is_opened_without_dvc_which_takes_long_to_import(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dvc.config", None)
    tree = worktree.open_tree(committed, NAME).path
    with pytest.raises(ImportError):
        worktree.share_cache(committed, tree)


def test_it_shares_the_cache_and_keeps_what_earlier_runs_made(committed: Path) -> None:
    tree = worktree.open_tree(committed, NAME).path
    worktree.share_cache(committed, tree)
    assert str(committed / ".dvc" / "cache") in (tree / ".dvc" / "config.local").read_text()
    (tree / "data" / "trained").mkdir()
    (tree / "configs" / "models.yaml").write_text("an earlier run's")
    (tree / "stray.txt").write_text("")
    tree_again = worktree.open_tree(committed, NAME).path
    assert (
        tree_again == tree
        and (tree / "data" / "trained").exists()
        and not (tree / "stray.txt").exists()
    )
    assert "family" in (tree / "configs" / "models.yaml").read_text()
    assert git(committed, "status", "--porcelain") == ""


def test_a_cache_that_dvc_s_own_files_name_is_used(
    committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared"
    settings = tmp_path / "user" / "config"
    settings.parent.mkdir()
    settings.write_text(f"[cache]\n    dir = {folder}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(settings.parent))
    tree = worktree.open_tree(committed, NAME).path
    worktree.share_cache(committed, tree)
    assert str(folder) in (tree / ".dvc" / "config.local").read_text()


def git_folder(tree: Path) -> Path:
    return Path(git(tree, "rev-parse", "--path-format=absolute", "--git-dir").strip())


@pytest.mark.parametrize("damage", ["deleted", "half deleted", "lock left", "not a tree"])
def test_a_damaged_tree_is_made_again(committed: Path, damage: str) -> None:
    tree = worktree.open_tree(committed, NAME).path
    if damage == "lock left":
        (git_folder(tree) / "index.lock").write_text("")
    elif damage == "half deleted":
        shutil.rmtree(tree / "configs")
    else:
        shutil.rmtree(tree)
        if damage == "not a tree":
            tree.mkdir()
            (tree / ".git").write_text("gitdir: /nowhere\n")
    assert (worktree.open_tree(committed, NAME).path / "configs" / "models.yaml").exists()


def test_the_tree_of_a_copied_project_keeps_what_was_compiled_of_unchanged_code(
    committed: Path, tmp_path: Path
) -> None:
    """Python and Numba know it by the time of the file that they compiled."""
    tree = worktree.open_tree(committed, NAME).path
    copied = tmp_path / "copied"
    shutil.copytree(committed, copied, symlinks=True)
    in_copy = ProjectPaths.of(copied).retraining(NAME) / "tree"
    unchanged, edited = "pipelines/__init__.py", "configs/models.yaml"
    (in_copy / edited).write_text("an edit")
    assert worktree.open_tree(copied, NAME).path == in_copy
    assert (in_copy / unchanged).stat().st_mtime_ns == (tree / unchanged).stat().st_mtime_ns
    assert (in_copy / edited).read_text() == (tree / edited).read_text()


def test_a_copied_project_has_a_tree_of_its_own_and_leaves_the_original_s_as_it_is(
    committed: Path, tmp_path: Path
) -> None:
    worktree.open_tree(committed, NAME)
    before = {
        path: path.read_bytes()
        for path in committed.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    copied = tmp_path / "copied"
    shutil.copytree(committed, copied, symlinks=True)
    tree = worktree.open_tree(copied, NAME).path
    assert (
        tree == ProjectPaths.of(copied).retraining(NAME) / "tree"
        and git(tree, "status", "--porcelain", "--", "configs") == ""
    )
    assert git_folder(tree).is_relative_to(copied)
    assert {path: path.read_bytes() for path in before} == before


def test_what_a_kill_left_of_the_link_to_its_tree_is_removed(committed: Path) -> None:
    tree = worktree.open_tree(committed, NAME).path
    half_written = git_folder(tree) / ".tmp-gitdir-12ab"
    half_written.touch()
    worktree.open_tree(committed, NAME)
    assert not half_written.exists()


def test_a_moved_project_has_its_tree_repaired(committed: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(committed, there, symlinks=True)
    (worktree.open_tree(there, NAME).path / "data").mkdir(exist_ok=True)
    (worktree.open_tree(there, NAME).path / "data" / "made.txt").write_text("by an earlier run")
    moved = there.rename(tmp_path / "moved")
    tree = worktree.open_tree(moved, NAME).path
    assert (tree / "data" / "made.txt").exists() and git(
        tree, "status", "--porcelain", "--", "configs"
    ) == ""
    assert git_folder(tree).is_relative_to(moved)


def test_a_dataset_that_is_not_committed_is_refused_with_the_commit_to_make(
    committed: Path,
) -> None:
    config = committed / "configs" / "datasets.yaml"
    text = config.read_text()
    content = yaml.safe_load(text)
    content["datasets"]["tide"] = content["datasets"][NAME]
    small_project.write_yaml(config, content)
    try:
        command = small_project.arguments("retrain", "tide")
        done, used = small_project.run_measured(committed, command)
        assert used.ru_utime < 0.6
        assert done.returncode == 2 and "'tide' is not committed" in done.stderr
        assert "`git add -A`" in done.stderr
        assert not (committed / ".forecast" / "retrain" / "tide").exists()
    finally:
        config.write_text(text)


def test_without_a_repository_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="git init"):
        worktree.open_tree(tmp_path, NAME)


def test_tuned_values_and_weights_become_inputs_of_the_train_stage(tmp_path: Path) -> None:
    root = retraining.write_project(tmp_path / "project")
    tree = worktree.open_tree(root, NAME)
    ends = {
        "train_end": "2024-05-01",
        "validation_end": "2024-06-01",
        "calibration_end": "2024-06-10",
        "test_end": "2024-07-18",
    }
    challenger.write_configuration(tree, NAME, ends)
    from forecast.config.datasets import load_datasets
    from forecast.config.reading import read_yaml

    configured = load_datasets(tree.paths.configs)
    assert (
        configured.run == (NAME,)
        and configured.datasets[NAME].splits.model_dump(mode="json") == ends
    )
    stages = read_yaml(tree.path / "dvc.yaml")["stages"]
    assert "tune" not in stages and "data/tuned/${item}" in stages["train"]["do"]["deps"]


def test_the_newest_data_may_lie_in_the_tree(committed: Path) -> None:
    tree = worktree.open_tree(committed, NAME).path
    assert newest_data_root(committed, NAME) == committed
    pointer = tree / "data" / "pointers" / f"{NAME}.json"
    pointer.write_text(pointer.read_text().replace('"as_of": "2024-07-19', '"as_of": "2024-07-20'))
    assert newest_data_root(committed, NAME) == tree


def test_the_snapshot_taken_last_is_used_also_where_an_earlier_one_ends_later(
    tmp_path: Path,
) -> None:
    root = small_project.write(tmp_path / "project", stages="stages: {}\n")
    tree = ProjectPaths.of(root).retraining(NAME) / "tree"
    shutil.copytree(root, tree, ignore=shutil.ignore_patterns(".forecast"))
    settings = load_dataset(NAME, root / "configs")
    rows = (root / "data" / "wave.csv").read_text()
    (tree / "data" / "wave.csv").write_text(f"{rows}2024-07-19,1.0\n")
    for hour, place in enumerate((tree, root, tree), start=1):
        now = pd.Timestamp("2024-07-21") + pd.Timedelta(hour, "h")
        ingest.fetch_snapshot(Request(NAME, settings, place), now=now)
        assert newest_data_root(root, NAME) == place


@pytest.fixture
def fetched(tmp_path: Path) -> tuple[challenger.RetrainingJob, str]:
    """A retraining that has fetched a row more than the commit has, and its snapshot."""
    root = write_committed(tmp_path / "project")
    with (root / "data" / "wave.csv").open("a") as file:
        file.write("2024-07-19,1.0\n")
    job = challenger.RetrainingJob(root, NAME, now=pd.Timestamp("2024-07-21"), environment={})
    tree = challenger.open_tree(job)
    committed_snapshot = newest_snapshot(root)
    challenger.fetch_data(job, tree)
    assert newest_snapshot(root) != committed_snapshot
    return job, newest_snapshot(root)


def newest_snapshot(root: Path) -> str:
    return snapshots.read_pointer(newest_data_root(root, NAME), NAME).snapshot


def test_a_retraining_that_cannot_fetch_leaves_the_data_of_the_one_before_it_the_newest(
    fetched: tuple[challenger.RetrainingJob, str],
) -> None:
    job, snapshot = fetched
    (job.root / "data" / "wave.csv").write_text("")
    with pytest.raises(InputError, match=r"wave\.csv: cannot be read"):
        challenger.fetch_data(job, challenger.open_tree(job))
    assert newest_snapshot(job.root) == snapshot


def test_a_retraining_compares_a_file_with_what_the_one_before_it_fetched(
    fetched: tuple[challenger.RetrainingJob, str],
) -> None:
    job, _ = fetched
    path = job.root / "data" / "wave.csv"
    path.write_text(path.read_text().replace("2024-07-19,1.0", "2024-07-19,2.0"))
    tree = challenger.open_tree(job)
    challenger.fetch_data(job, tree)
    assert snapshots.read_provenance(tree.path, NAME)["revised_values"] == 1


@pytest.fixture
def tuned_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The snapshots that challengers are tuned on, by a stand-in for the stage."""
    tuned: list[str] = []

    def tune(job: challenger.RetrainingJob, tree: worktree.WorkTree, target: str) -> None:
        assert target == f"tune@{NAME}"
        tuned.append(snapshots.read_pointer(tree.path, NAME).snapshot)
        assert newest_snapshot(job.root) == newest_snapshot(tree.path.parent / "tree")
        tree.paths.tuned(NAME).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(challenger, "run_stages", tune)
    return tuned


def test_while_a_challenger_is_tuned_on_the_commit_the_newest_data_stay_the_newest(
    fetched: tuple[challenger.RetrainingJob, str], tuned_on: list[str]
) -> None:
    job, snapshot = fetched
    challenger.provide_tuned_values(job, challenger.open_tree(job), "digest")
    assert tuned_on == [snapshots.read_pointer(job.root, NAME).snapshot] != [snapshot]


def test_what_only_retrainings_fetch_is_tuned_on_the_newest_fetch(
    fetched: tuple[challenger.RetrainingJob, str], tuned_on: list[str]
) -> None:
    job, _ = fetched
    shutil.rmtree(job.root / "data" / "pointers")
    commit(job.root)
    path = job.root / "data" / "wave.csv"
    for row in ("2024-07-20,1.0", "2024-07-21,1.0"):
        path.write_text(f"{path.read_text()}{row}\n")
        tree = challenger.open_tree(job)
        challenger.fetch_data(job, tree)
        challenger.provide_tuned_values(job, tree, row)
        assert tuned_on[-1] == newest_snapshot(job.root)
    assert tuned_on[0] != tuned_on[1]


def test_what_the_checkout_s_pointer_names_goes_with_it_the_provider_s_forecasts_as_well(
    tmp_path: Path,
) -> None:
    root, tree, as_of = tmp_path / "root", tmp_path / "tree", pd.Timestamp("2024-01-05")
    frame = hourly()
    issues = frame.assign(issued_at=frame["ds"] - pd.Timedelta(1, "h"))[
        [*vintages.VINTAGE_KEYS, "temp"]
    ]
    pointer = snapshots.write_snapshot(root, NAME, frame, as_of=as_of, provenance={})
    snapshots.move_pointer(
        root, NAME, replace(pointer, **vintages.write_vintages(root, NAME, issues, as_of=as_of))
    )
    challenger.copy_snapshots(root, tree)
    pd.testing.assert_frame_equal(
        snapshots.read_pointed(tree, NAME), snapshots.read_pointed(root, NAME)
    )
    pd.testing.assert_frame_equal(
        vintages.read_vintages(tree, NAME), vintages.read_vintages(root, NAME)
    )
    assert snapshots.read_provenance(tree, NAME) == snapshots.read_provenance(root, NAME)


def test_both_files_of_forecasts_of_one_s_own_go_into_the_tree(tmp_path: Path) -> None:
    root, path = tmp_path / "root", tmp_path / "tree"
    frame = hourly().drop(columns="unique_id")
    (root / "data").mkdir(parents=True)
    frame.to_csv(root / "data" / "mine.csv", index=False)
    frame.assign(issued_at=frame["ds"] - pd.Timedelta("3h")).to_csv(
        root / "data" / "said.csv", index=False
    )
    source = {
        "kind": "file",
        "path": "data/mine.csv",
        "issued_path": "data/said.csv",
        "issued_columns": ["temp"],
    }
    write_entries(
        path,
        mine=dataset(
            source=source, future_exogenous=[{"column": "temp", "issued": True, "max_missing": 0.1}]
        ),
    )
    job = challenger.RetrainingJob(
        root=root, dataset="mine", now=pd.Timestamp("2024-02-01"), environment={}
    )
    challenger.fetch_data(job, worktree.WorkTree(path, "", ()))
    assert len(vintages.read_vintages(path, "mine")) == 100
    (root / "data" / "said.csv").unlink()
    with pytest.raises(InputError, match=r"said\.csv: no such file"):
        challenger.fetch_data(job, worktree.WorkTree(path, "", ()))


def write_entries(tree: Path, **entries: Dataset) -> None:
    (tree / "configs").mkdir(parents=True)
    content = {
        "run": list(entries),
        "datasets": {name: e.model_dump(mode="json") for name, e in entries.items()},
    }
    small_project.write_yaml(tree / "configs" / "datasets.yaml", content)


def test_what_is_joined_is_taken_anew_with_every_retraining(tmp_path: Path) -> None:
    """Else its column would be empty once the checkout's snapshot is older than `max_age_days`."""
    root, path = tmp_path / "root", tmp_path / "tree"
    (root / "data").mkdir(parents=True)
    joined = {"dataset": "other", "series": "other", "column": "temp", "max_age_days": 1}
    near = {"column": "near", "max_missing": 0.02, "joined": joined}
    sources = {name: {"kind": "file", "path": f"data/{name}.csv"} for name in ("mine", "other")}
    mine = dataset(source=sources["mine"], past_exogenous=[near])
    write_entries(path, mine=mine, other=dataset(source=sources["other"]))
    job = challenger.RetrainingJob(
        root=root, dataset="mine", now=pd.Timestamp("2024-02-01"), environment={}
    )
    for rows in (100, 200):
        for name in sources:
            hourly(rows).drop(columns="unique_id").to_csv(
                root / "data" / f"{name}.csv", index=False
            )
        challenger.fetch_data(job, worktree.WorkTree(path, "", ()))
        near_by = preparation.check_data("mine", mine, root=path)[0].set_index("ds")["near"]
        assert near_by.equals(hourly(rows).set_index("ds")["temp"].rename("near"))


def test_old_snapshots_and_their_forecasts_are_pruned(committed: Path) -> None:
    tree = worktree.open_tree(committed, NAME)
    store = tree.paths.snapshots / NAME
    for day in range(1, 6):
        for folder in (store, store / "issued"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"2030-01-0{day}-abc.parquet").write_text("")
    worktree.prune_tree(committed, tree, snapshots=2)
    for folder in (store, store / "issued"):
        assert sorted(path.name for path in folder.glob("2030*")) == [
            f"2030-01-0{day}-abc.parquet" for day in (4, 5)
        ]
    shutil.rmtree(store / "issued")
    for path in store.glob("2030*"):
        path.unlink()
