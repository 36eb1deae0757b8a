"""Every file and folder of a project under one name: `ProjectPaths.of(root)`.

Made once per command; nothing here touches the disk. What no stage owns lies in the folder `state`,
which narrowed runs share with the whole project: finished trainings (`memo`), studies, shapes,
costs, locks, champions, what retrainings and the schedule keep, live forecasts. Those are the names
that begin with `.forecast`; every other lies below `root`.

What a project has once is read (`paths.configs`); what it has of each dataset, record or lock is
called with its name (`paths.trained("sales")`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NARROWED = "narrowed"
"""The folder of the runs with `--model`, one folder in it for each."""
STATE_FOLDER = ".forecast"


@dataclass(frozen=True)
class _ProjectPath:
    """A file or folder that a project has once, by its path from the root; what begins with
    `STATE_FOLDER` lies there.
    """

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Path:
        return _resolve(paths, self.name)


@dataclass(frozen=True)
class _NamedPath:
    """One for each dataset, record or lock, whose name stands for `{}`."""

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Callable[[str], Path]:
        def path_of(key: str) -> Path:
            return _resolve(paths, self.name.format(key))

        return path_of


def _resolve(paths: ProjectPaths, name: str) -> Path:
    """The place of a name below the root; what begins with `.forecast` lies in the state folder."""
    if name.startswith(STATE_FOLDER):
        return paths.state / name.removeprefix(f"{STATE_FOLDER}/")
    return paths.root / name


@dataclass(frozen=True)
class ProjectPaths:
    """`root`: the folder with `configs/` and `dvc.yaml`.

    `state`: finished work that no stage owns, by default `<root>/.forecast`; narrowed runs share
    that of the whole project.

    >>> ProjectPaths.of("shop").trained("sales").as_posix()
    'shop/data/trained/sales'
    """

    root: Path
    state: Path

    @classmethod
    def of(cls, root: Path | str = ".", state: Path | str | None = None) -> ProjectPaths:
        """The paths of the project in `root`; `state` as in the class, by default inside of it."""
        return cls(Path(root), Path(root) / STATE_FOLDER if state is None else Path(state))

    @property
    def is_narrowed(self) -> bool:
        """Whether this is the folder of a run with `--model`, whose rows are never promoted."""
        return self.root.parent.name == NARROWED

    # What a person writes, and what is in git.

    configs = _ProjectPath("configs")
    datasets_yaml = _ProjectPath("configs/datasets.yaml")
    requirements = _ProjectPath("requirements.lock")
    """The installed versions, with their hashes."""
    snapshots = _ProjectPath("data/snapshots")
    pointers = _ProjectPath("data/pointers")
    pointer = _NamedPath("data/pointers/{}.json")

    # What the stages make, in their order.

    settings = _ProjectPath("data/settings")
    """What each stage of each dataset computes with: its settings and the digest of its code."""
    raw = _NamedPath("data/raw/{}.parquet")
    # of the provider; the project's own are `live_forecasts`
    raw_vintages = _NamedPath("data/raw/{}.issued.parquet")
    """The provider's own forecasts with their issue times, as far as the rows of `raw` need them.
    """
    prepared = _NamedPath("data/prepared/{}")
    vintages = _NamedPath("data/prepared/{}/issued.parquet")
    frame = _NamedPath("data/prepared/{}/frame.parquet")
    borders = _NamedPath("data/prepared/{}/borders.json")
    task = _NamedPath("data/prepared/{}/task.json")
    """What every later stage computes with, made of the dataset's entry in configs/datasets.yaml.
    """
    quality = _NamedPath("data/prepared/{}/quality.json")
    tuned = _NamedPath("data/tuned/{}")
    """A `StudyRecord` per candidate, made by stage `tune`."""
    trained = _NamedPath("data/trained/{}")
    compared = _NamedPath("data/compared/{}")
    identified = _NamedPath("data/identified/{}")
    """What `forecast identify` made of an entry of configs/experiments.yaml."""
    reports = _ProjectPath("reports")
    leaderboard = _ProjectPath("reports/leaderboard.csv")
    verdicts = _ProjectPath("reports/verdicts.json")
    """Every test of the comparison, with its p-value and its interval; like the leaderboard in git.
    """
    report = _ProjectPath("reports/report.html")

    # Finished work and what operation keeps, outside of every stage.

    memo = _ProjectPath(f"{STATE_FOLDER}/memo")
    studies = _ProjectPath(f"{STATE_FOLDER}/studies")
    shapes = _ProjectPath(f"{STATE_FOLDER}/shapes")
    """The shapes of linear maps, by what they were chosen on."""
    cost = _NamedPath(f"{STATE_FOLDER}/cost/{{}}")
    """CPU and wall seconds: outside every stage's outs, since no two runs take equally long."""
    lock = _NamedPath(f"{STATE_FOLDER}/locks/{{}}.lock")
    all_champions = _ProjectPath(f"{STATE_FOLDER}/champions")
    champions = _NamedPath(f"{STATE_FOLDER}/champions/{{}}")
    taking = _NamedPath(f"{STATE_FOLDER}/taken/{{}}.json")
    """{"at", "snapshot"}: when `forecast fetch` or a retraining last took which snapshot here."""
    retraining = _NamedPath(f"{STATE_FOLDER}/retrain/{{}}")
    """Everything one dataset's retraining keeps."""
    schedule = _ProjectPath(f"{STATE_FOLDER}/schedule")
    live_forecasts = _NamedPath(f"{STATE_FOLDER}/issued/{{}}.parquet")
    """Forecasts that were made by `forecast predict`, kept until their actuals arrive."""
