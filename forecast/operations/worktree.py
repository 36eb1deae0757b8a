"""A git work tree per dataset, `.forecast/retrain/<dataset>/tree/`, in which challengers are made,
so that the user's checkout is never changed; they are tuned in a second one, `tuning/`.

It is at the checkout's commit, and has its own data, pointer, dvc.lock and .forecast. DVC's cache
is shared with the checkout. Edits of code and configuration that are not committed are not used;
source files are copied from the checkout as they are (`challenger.fetch_data`).
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from forecast.config.paths import ProjectPaths
from forecast.system import files
from forecast.system.errors import ForecastError, InputError, one_line
from forecast.system.processes import run_git

CODE = ("forecast", "pipelines", "configs", "dvc.yaml", "requirements.lock", "pyproject.toml")
UNCLEANED = ("data", ".forecast", ".dvc/config.local", ".dvc/tmp", "reports", "dvc.lock")
"""What `git clean` leaves in place: data and caches of earlier retrainings."""


@dataclass(frozen=True)
class WorkTree:
    """A work tree at the commit `revision`."""

    path: Path
    revision: str
    unused_edits: tuple[str, ...]
    """Paths of the checkout with edits that are not committed."""

    @property
    def paths(self) -> ProjectPaths:
        """The files of the project in the work tree."""
        return ProjectPaths.of(self.path)


def open_tree(root: Path, dataset: str, name: str = "tree") -> WorkTree:
    """Make or repair the dataset's work tree `name` at the checkout's commit; edits in it are
    undone.

    Raises `InputError` where `root` is not the root of a git repository with a commit.
    """
    root = root.resolve()
    revision = _revision(root)
    tree = ProjectPaths.of(root).retraining(dataset) / name
    common = _git(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    if (tree / ".git").is_file():
        # first: git finds the repository of a moved tree only by corrected paths
        _correct_links(tree, Path(common) / "worktrees")
    if not _is_work_tree(tree, common):
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        _git(root, "worktree", "prune")
        _git(root, "worktree", "add", "--quiet", "--force", "--detach", str(tree), revision)
        _copy_compiled_code(root / "forecast", tree)
    # left by a killed git: no other process works here while we hold the dataset's lock
    index_lock = _git(tree, "rev-parse", "--path-format=absolute", "--git-path", "index.lock")
    Path(index_lock.strip()).unlink(missing_ok=True)
    # without it git would write all files of a copy again, and what was compiled of them is lost
    run_git(tree, "update-index", "-q", "--refresh")
    _git(tree, "checkout", "--quiet", "--force", "--detach", revision)
    _git(tree, "clean", "-ffdq", *(f"--exclude=/{name}" for name in UNCLEANED))
    return WorkTree(tree, revision, uncommitted_paths(root))


def _copy_compiled_code(code: Path, tree: Path) -> None:
    """Copy the folder `code` of the checkout with its compiled files into a new work tree.

    Compiling the kernels again would take ten CPU seconds. File times are kept, by which Python and
    Numba recognise what they have compiled. The caller undoes the checkout's edits in the copy.
    """
    # a project with an installed package has no such folder; compiled files may vanish meanwhile
    with contextlib.suppress(FileNotFoundError, shutil.Error):
        shutil.copytree(code, tree / code.name, dirs_exist_ok=True)


def require_committed(root: Path, dataset: str) -> None:
    """Raises `InputError`, with the commands to run, where the dataset's entry or dvc.yaml is not
    committed, and outside a git repository.
    """
    root = root.resolve()
    _revision(root)
    content = None
    with contextlib.suppress(yaml.YAMLError):
        # the output is empty where the commit has no such file
        content = yaml.safe_load(run_git(root, "show", "HEAD:./configs/datasets.yaml").stdout)
    datasets = content.get("datasets") if isinstance(content, dict) else None
    missing = ""
    if not isinstance(datasets, dict) or dataset not in datasets:
        missing = f"configs/datasets.yaml: the entry {dataset!r}"
    elif run_git(root, "cat-file", "-e", "HEAD:./dvc.yaml").returncode:
        missing = "dvc.yaml"
    if missing:
        raise InputError(
            f"{missing} is not committed, and a challenger is made from committed code: `git add"
            f" -A`, `git commit -m 'Add the dataset {dataset}'`, then the same command again."
        )


def require_source_files(root: Path, paths: Iterable[Path]) -> None:
    """Raises `InputError` for the first of a dataset's source files that `root` lacks."""
    for path in paths:
        if not (root / path).exists():
            raise InputError(
                f"{root / path}: no such file. Restore it, or correct `source` in"
                " configs/datasets.yaml."
            )


def uncommitted_paths(root: Path) -> tuple[str, ...]:
    """Paths of code and configuration with edits in the checkout that are not committed."""
    output = _git(root, "status", "--porcelain", "--", *CODE)
    return tuple(line[3:].strip('"') for line in output.splitlines())


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file or a folder to `target`, atomically."""
    if source.is_dir():
        with files.atomic_directory(target) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    elif source.resolve() != target.resolve():
        with files.atomic_path(target) as path:
            shutil.copyfile(source, path)


def prune_tree(root: Path, tree: WorkTree, *, snapshots: int) -> None:
    """Remove caches, and of the snapshots of each dataset that are not committed all but the newest
    `snapshots` (1 or more); let git forget work trees that are gone.
    """
    committed = set(_git(tree.path, "ls-files", "--", "data/snapshots").splitlines())
    for folder in (*tree.paths.snapshots.glob("*"), *tree.paths.snapshots.glob("*/issued")):
        uncommitted = [
            p
            for p in sorted(folder.glob("*.parquet"))
            if p.relative_to(tree.path).as_posix() not in committed
        ]
        for path in uncommitted[:-snapshots]:
            for outdated in (path, path.with_suffix(".json"), path.with_suffix(".revisions.csv")):
                outdated.unlink(missing_ok=True)
    for name in ("memo", "shapes", "cost"):
        shutil.rmtree(tree.path / ".forecast" / name, ignore_errors=True)
    _git(root, "worktree", "prune")


def _is_work_tree(tree: Path, common: str) -> bool:
    """Whether `tree` is a work tree of the repository whose git folder is `common`."""
    answer = run_git(
        tree, "rev-parse", "--path-format=absolute", "--git-common-dir", "--show-toplevel"
    )
    return answer.returncode == 0 and answer.stdout.split("\n")[:2] == [common, str(tree.resolve())]


def _correct_links(tree: Path, worktrees: Path) -> None:
    """Correct the two absolute paths by which git connects a work tree and its repository, after
    the project was moved or copied.

    `git worktree repair` would follow the paths of a copied project into the original and change
    it.
    """
    registration = worktrees / Path((tree / ".git").read_text(encoding="utf-8").strip()).name
    if (registration / "gitdir").is_file():
        files.remove_leftovers(registration)
        files.write_text(tree / ".git", f"gitdir: {registration}\n")
        files.write_text(registration / "gitdir", f"{tree.resolve() / '.git'}\n")


def _revision(root: Path) -> str:
    """The commit of the checkout.

    Raises `InputError` where `root` is not the root of a git repository with a commit.
    """
    head = run_git(root, "rev-parse", "HEAD")
    top = run_git(root, "rev-parse", "--show-toplevel")
    if head.returncode or Path(top.stdout.strip()).resolve() != root:
        raise InputError(
            f"{root}: git does not find the root of a repository with a commit"
            f" ({one_line(head.stderr or top.stdout)}). A challenger is made from committed code:"
            " do what git says, or `git init`, `git add -A` and `git commit` here; then the same"
            " command again."
        )
    return head.stdout.strip()


def share_cache(root: Path, tree: Path) -> None:
    """Let DVC in the work tree use the checkout's cache; called only before DVC runs there.

    Raises `InputError` where the checkout is no DVC project.
    """
    # importing DVC replaces the standard streams; the redirection undoes that
    with contextlib.redirect_stdout(sys.stdout), contextlib.redirect_stderr(sys.stderr):
        from dvc.config import Config, ConfigError
    try:
        folder = (root / ".dvc").resolve(strict=True)
        settings = Config(folder, validate=False)
    except (OSError, ConfigError) as error:
        raise InputError(f"{root}: no DVC project ({error}). Restore .dvc from git.") from None
    cache = settings["cache"].get("dir", folder / "cache")
    # autostage: without it DVC advises to `git add` its files, which nobody commits here
    text = f"[cache]\n    dir = {cache}\n[core]\n    autostage = true\n"
    files.write_text(tree / ".dvc" / "config.local", text)


def _git(folder: Path, *words: str) -> str:
    """The output of a git command in `folder`; `ForecastError` with git's message on failure."""
    done = run_git(folder, *words)
    if done.returncode:
        # on a full disk there is a line for every file before the reason
        reason = one_line((done.stderr or done.stdout).rpartition("fatal: ")[2])
        raise ForecastError(
            f"git {words[0]} in {folder} failed ({reason}). Check the folder's permissions and the"
            " free space (`forecast clean`), then run the same command again."
        )
    return done.stdout


def newest_data_root(root: Path, dataset: str) -> Path:
    """Where the dataset was fetched last: in the checkout or in the work tree of its retraining;
    the checkout where both are equal.

    The time of fetching decides and not the newest row: a corrected file may end before the faulty
    one.
    """
    tree = ProjectPaths.of(root).retraining(dataset) / "tree"
    return tree if _fetch_time(tree, dataset) > _fetch_time(root, dataset) else root


def _fetch_time(project: Path, dataset: str) -> datetime:
    """When the snapshot that `project` points to was fetched there, or, where the pointer came from
    git or `--as-of`, when its data were known; `datetime.min` without a snapshot.
    """
    paths = ProjectPaths.of(project)
    try:
        pointer = files.read_json(paths.pointer(dataset))
        fetch_note = files.read_note(paths.fetch_note(dataset))
        is_taken_here = fetch_note.get("snapshot") == pointer["snapshot"]
        moment = datetime.fromisoformat(fetch_note["at"] if is_taken_here else pointer["as_of"])
        return moment if (project / pointer["snapshot"]).exists() else datetime.min
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.min
