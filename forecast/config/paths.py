"""Every file and folder of a project under one name; made once per command, nothing here touches
the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEADERBOARD = Path("reports") / "leaderboard.csv"
"""The one out that is in git, relative to the project's root."""
STATE = ".forecast"


@dataclass(frozen=True)
class _One:
    """A file or folder that a project has once, by its path from the root; what begins with `STATE`
    lies there.
    """

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Path:
        return _below(paths, self.name)


@dataclass(frozen=True)
class _Each:
    """One for each dataset, record or lock, whose name stands for `{}`."""

    name: str

    def __get__(self, paths: ProjectPaths, owner: object = None) -> Callable[[str], Path]:
        return lambda own: _below(paths, self.name.format(own))


def _below(paths: ProjectPaths, name: str) -> Path:
    return (
        paths.state / name.removeprefix(f"{STATE}/")
        if name.startswith(STATE)
        else paths.root / name
    )


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
        return cls(Path(root), Path(root) / STATE if state is None else Path(state))

    # What a person writes, and what is in git.

    configs = _One("configs")
    datasets_yaml = _One("configs/datasets.yaml")
    requirements = _One("requirements.lock")
    """The installed versions, with their hashes."""
    snapshots = _One("data/snapshots")
    pointers = _One("data/pointers")
    pointer = _Each("data/pointers/{}.json")

    # What the stages make, in their order.

    settings = _One("data/settings")
    """What each stage of each dataset computes with: its settings and the digest of its code."""
    raw = _Each("data/raw/{}.parquet")
    vintages = _Each("data/raw/{}.issued.parquet")
    """The provider's own forecasts with their issue times, as far as the rows of `raw` need them.
    """
    prepared = _Each("data/prepared/{}")
    frame = _Each("data/prepared/{}/frame.parquet")
    borders = _Each("data/prepared/{}/borders.json")
    task = _Each("data/prepared/{}/task.json")
    """What every later stage computes with, made of the dataset's entry in configs/datasets.yaml.
    """
    quality = _Each("data/prepared/{}/quality.json")
    tuned = _Each("data/tuned/{}")
    warm = _Each("data/warm/{}")
    """Weights that a retraining leaves for its trainings to begin with."""
    trained = _Each("data/trained/{}")
    compared = _Each("data/compared/{}")
    identified = _Each("data/identified/{}")
    """What `forecast identify` made of an entry of configs/experiments.yaml."""
    reports = _One("reports")
    leaderboard = _One(LEADERBOARD.as_posix())
    report = _One("reports/report.html")

    # Finished work and what operation keeps, outside of every stage.

    memo = _One(f"{STATE}/memo")
    studies = _One(f"{STATE}/studies")
    cost = _Each(f"{STATE}/cost/{{}}")
    """CPU and wall seconds: outside every stage's outs, since no two runs take equally long."""
    lock = _Each(f"{STATE}/locks/{{}}.lock")
    locks = _One(f"{STATE}/locks")
    all_champions = _One(f"{STATE}/champions")
    champions = _Each(f"{STATE}/champions/{{}}")
    retraining = _Each(f"{STATE}/retrain/{{}}")
    """Everything one dataset's retraining keeps."""
    schedule = _One(f"{STATE}/schedule")
    live_forecasts = _Each(f"{STATE}/issued/{{}}.parquet")
    """Forecasts that were made by `forecast predict`, kept until their actuals arrive."""
