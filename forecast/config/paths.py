"""The paths of the files and folders of a project: `ProjectPaths.of(root)`; those of MLflow are in
`tracking.stores`, the lock of a run in `system.bootstrap`. Nothing here touches the disk.

A path of the project is an attribute (`paths.configs`); a path of a dataset, record or lock is
called with its name (`paths.trained("sales")`). Names that begin with `.forecast` are in the folder
`state`, which runs with `--model` share with the whole project: finished trainings (`memo`),
studies, costs, locks, champions, the files of retraining and schedule, live forecasts. All others
are below `root`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NARROWED = "narrowed"
"""The folder of the runs with `--model`, with a folder for each."""
STATE_FOLDER = ".forecast"


@dataclass(frozen=True)
class _ProjectPath:
    """A descriptor for a path of the project, relative to the root."""

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Path:
        return _resolve(paths, self.name)


@dataclass(frozen=True)
class _NamedPath:
    """A descriptor for a path of each dataset, record or lock, whose name replaces `{}`."""

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Callable[[str], Path]:
        def path_of(key: str) -> Path:
            return _resolve(paths, self.name.format(key))

        return path_of


def _resolve(paths: ProjectPaths, name: str) -> Path:
    """The path of `name` below the root, or below the state folder if it begins with
    `STATE_FOLDER`.
    """
    if name.startswith(STATE_FOLDER):
        return paths.state / name.removeprefix(f"{STATE_FOLDER}/")
    return paths.root / name


@dataclass(frozen=True)
class ProjectPaths:
    """root: the folder with `configs/` and `dvc.yaml`. state: finished work that no stage owns, by
    default `<root>/.forecast`.

    >>> ProjectPaths.of("shop").trained("sales").as_posix()
    'shop/data/trained/sales'
    """

    root: Path
    state: Path

    @classmethod
    def of(cls, root: Path | str = ".", state: Path | str | None = None) -> ProjectPaths:
        """The paths of the project in `root`."""
        return cls(Path(root), Path(root) / STATE_FOLDER if state is None else Path(state))

    @property
    def is_narrowed(self) -> bool:
        """Whether this is the folder of a run with `--model`, whose models are never promoted."""
        return self.root.parent.name == NARROWED

    # What people write, and what is in git.

    configs = _ProjectPath("configs")
    datasets_yaml = _ProjectPath("configs/datasets.yaml")
    requirements = _ProjectPath("requirements.lock")
    """The installed versions; in a clone of this project with their hashes."""
    snapshots = _ProjectPath("data/snapshots")
    pointers = _ProjectPath("data/pointers")
    pointer = _NamedPath("data/pointers/{}.json")

    # What the stages make, in their order.

    settings = _ProjectPath("data/settings")
    """By stage and dataset, the settings it computes with and the digest of its code."""
    raw = _NamedPath("data/raw/{}.parquet")
    raw_vintages = _NamedPath("data/raw/{}.issued.parquet")
    """The provider's own forecasts with their issue times."""
    prepared = _NamedPath("data/prepared/{}")
    vintages = _NamedPath("data/prepared/{}/issued.parquet")
    frame = _NamedPath("data/prepared/{}/frame.parquet")
    borders = _NamedPath("data/prepared/{}/borders.json")
    task = _NamedPath("data/prepared/{}/task.json")
    """The `Task` that every later stage computes with."""
    quality = _NamedPath("data/prepared/{}/quality.json")
    tuned = _NamedPath("data/tuned/{}")
    """A `StudyRecord` per candidate, made by stage `tune`."""
    trained = _NamedPath("data/trained/{}")
    compared = _NamedPath("data/compared/{}")
    identified = _NamedPath("data/identified/{}")
    """The results of `forecast identify` for an entry of configs/experiments.yaml."""
    reports = _ProjectPath("reports")
    leaderboard = _ProjectPath("reports/leaderboard.csv")
    verdicts = _ProjectPath("reports/verdicts.json")
    """Every test of the comparison, with its p and its interval; in git like the leaderboard."""
    report = _ProjectPath("reports/report.html")

    # Finished work and files of operation, which no stage owns.

    memo = _ProjectPath(".forecast/memo")
    studies = _ProjectPath(".forecast/studies")
    shapes = _ProjectPath(".forecast/shapes")
    """The shapes of linear models, by what they were selected on."""
    cost = _NamedPath(".forecast/cost/{}")
    """CPU and wall seconds; no output of a stage, since they differ from run to run."""
    lock = _NamedPath(".forecast/locks/{}.lock")
    all_champions = _ProjectPath(".forecast/champions")
    champions = _NamedPath(".forecast/champions/{}")
    fetch_note = _NamedPath(".forecast/taken/{}.json")
    """{"at", "snapshot"}: when a fetch or a retraining last took which snapshot on this machine."""
    retraining = _NamedPath(".forecast/retrain/{}")
    """The files of one dataset's retraining."""
    schedule = _ProjectPath(".forecast/schedule")
    live_forecasts = _NamedPath(".forecast/issued/{}.parquet")
    """Forecasts of `forecast predict`, kept to be scored once their actuals arrive."""
