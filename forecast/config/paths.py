"""Every file and folder of a project under one name; made once per command, nothing here touches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LEADERBOARD = Path("reports") / "leaderboard.csv"
"""The one out that is in git, relative to the project's root."""


@dataclass(frozen=True)
class ProjectPaths:
    """`root`: the folder with `configs/` and `dvc.yaml`. `state`: finished work that no stage owns, by default
    `<root>/.forecast`; narrowed runs share that of the whole project.

    >>> ProjectPaths.of("shop").trained("sales").as_posix()
    'shop/data/trained/sales'
    """

    root: Path
    state: Path

    @classmethod
    def of(cls, root: Path | str = ".", state: Path | str | None = None) -> ProjectPaths:
        return cls(Path(root), Path(root) / ".forecast" if state is None else Path(state))

    # What a person writes, and what is in git.

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def datasets_yaml(self) -> Path:
        return self.configs / "datasets.yaml"

    @property
    def requirements(self) -> Path:
        """The installed versions, with their hashes."""
        return self.root / "requirements.lock"

    @property
    def snapshots(self) -> Path:
        return self.root / "data" / "snapshots"

    @property
    def pointers(self) -> Path:
        return self.root / "data" / "pointers"

    def pointer(self, dataset: str) -> Path:
        return self.pointers / f"{dataset}.json"

    # What the stages make, in their order.

    @property
    def settings(self) -> Path:
        """What each stage of each dataset computes with: its settings and the digest of its code."""
        return self.root / "data" / "settings"

    def raw(self, dataset: str) -> Path:
        return self.root / "data" / "raw" / f"{dataset}.parquet"

    def vintages(self, dataset: str) -> Path:
        """The provider's own forecasts with their issue times, as far as the rows of `raw` need them."""
        return self.root / "data" / "raw" / f"{dataset}.issued.parquet"

    def prepared(self, dataset: str) -> Path:
        return self.root / "data" / "prepared" / dataset

    def frame(self, dataset: str) -> Path:
        return self.prepared(dataset) / "frame.parquet"

    def borders(self, dataset: str) -> Path:
        return self.prepared(dataset) / "borders.json"

    def task(self, dataset: str) -> Path:
        """What every later stage computes with, made of the dataset's entry in configs/datasets.yaml."""
        return self.prepared(dataset) / "task.json"

    def quality(self, dataset: str) -> Path:
        return self.prepared(dataset) / "quality.json"

    def tuned(self, dataset: str) -> Path:
        return self.root / "data" / "tuned" / dataset

    def warm(self, dataset: str) -> Path:
        """Weights that a retraining leaves for its trainings to begin with."""
        return self.root / "data" / "warm" / dataset

    def trained(self, dataset: str) -> Path:
        return self.root / "data" / "trained" / dataset

    def compared(self, dataset: str) -> Path:
        return self.root / "data" / "compared" / dataset

    def identified(self, record: str) -> Path:
        """What `forecast identify` made of an entry of configs/experiments.yaml."""
        return self.root / "data" / "identified" / record

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def leaderboard(self) -> Path:
        return self.root / LEADERBOARD

    @property
    def report(self) -> Path:
        return self.reports / "report.html"

    # Finished work and what operation keeps, outside of every stage.

    @property
    def memo(self) -> Path:
        return self.state / "memo"

    @property
    def studies(self) -> Path:
        return self.state / "studies"

    def cost(self, dataset: str) -> Path:
        """CPU and wall seconds: outside every stage's outs, since no two runs take equally long."""
        return self.state / "cost" / dataset

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    def lock(self, name: str) -> Path:
        return self.locks / f"{name}.lock"

    @property
    def all_champions(self) -> Path:
        return self.state / "champions"

    def champions(self, dataset: str) -> Path:
        return self.all_champions / dataset

    def retraining(self, dataset: str) -> Path:
        """Everything one dataset's retraining keeps."""
        return self.state / "retrain" / dataset

    @property
    def schedule(self) -> Path:
        return self.state / "schedule"

    def live_forecasts(self, dataset: str) -> Path:
        """Forecasts that were made by `forecast predict`, kept until their actuals arrive."""
        return self.state / "issued" / f"{dataset}.parquet"
