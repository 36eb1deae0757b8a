"""A dataset made ready for any model: panel, blocks, scaling and origins, computed once and shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from forecast.data import splits
from forecast.data.panel import Panel
from forecast.data.scaling import Scaling
from forecast.data.splits import Blocks, Borders
from forecast.data.windows import Layout, Windows, batches, layout, targets
from forecast.models.skip import Batches, Kind, Skip, fit_linear


@dataclass
class Problem:
    """Everything fitted here is fitted on the train rows of `blocks`; skips choose their penalty on validation.

    said: what the data's own service had forecast at each cutoff (`data.issued.forecasts`), where it is wanted.
    """

    panel: Panel
    borders: Borders
    blocks: dict[str, Blocks]
    scaling: Scaling
    channels: Layout
    said: pd.DataFrame | None = None
    _scaled: dict[str, np.ndarray] = field(default_factory=dict)
    _skips: dict[tuple[Kind, int], Skip] = field(default_factory=dict)

    @classmethod
    def of(cls, panel: Panel, borders: Borders, needed: tuple[str, ...] = splits.BLOCKS) -> Problem:
        blocks = splits.cut_panel(panel, borders, needed)
        return cls(panel, borders, blocks, Scaling.fit(panel, blocks), layout(panel.dataset))

    def scaled(self, unique_id: str) -> np.ndarray:
        """(T, C) scaled values of one series, NaN where not observed."""
        if unique_id not in self._scaled:
            self._scaled[unique_id] = self.scaling.scaled(self.panel.by_id[unique_id], self.panel.dataset)
        return self._scaled[unique_id]

    def rows(self, unique_id: str, block: str) -> np.ndarray:
        """The origins of one block: every row in train, the dataset's strides elsewhere."""
        dataset = self.panel.dataset
        return splits.origins(
            self.blocks[unique_id],
            block,
            horizon=dataset.horizon,
            lookback=dataset.lookback,
            stride=dataset.stride_in(block),
        )

    def windows(self, unique_id: str, rows: np.ndarray, *, horizon: int | None = None) -> Iterator[Windows]:
        """The windows that end at `rows`, in batches."""
        dataset = self.panel.dataset
        series = self.panel.by_id[unique_id]
        return batches(
            self.scaled(unique_id),
            series.future,
            rows,
            self.channels,
            lookback=dataset.lookback,
            horizon=horizon or dataset.horizon,
        )

    def examples(self, block: str, horizon: int) -> Batches:
        """Windows and their scaled targets (B, horizon, O) over all series, for closed-form fits."""

        def pairs() -> Iterator[tuple[Windows, np.ndarray]]:
            for series in self.panel.series:
                z = self.scaled(series.unique_id)
                for windows in self.windows(series.unique_id, self.rows(series.unique_id, block), horizon=horizon):
                    yield windows, targets(z, windows.rows, horizon=horizon, outputs=self.panel.outputs)

        return pairs

    def skip(self, kind: Kind, horizon: int) -> Skip:
        """The fitted skip, cached: it depends on the data alone, not on the network beside it."""
        if (kind, horizon) not in self._skips:
            dataset = self.panel.dataset
            if kind == "linear":
                fitted = fit_linear(
                    self.examples("train", horizon),
                    self.examples("validation", horizon),
                    self.channels,
                    horizon=horizon,
                    lags=self._candidate_lags(),
                    season=dataset.season,
                )
            else:
                fitted = Skip(kind, horizon, self.panel.outputs, dataset.season)
            self._skips[kind, horizon] = fitted
        return self._skips[kind, horizon]

    def _candidate_lags(self) -> list[int]:
        """Halvings of the lookback down to two rows: validation picks one."""
        lags = {self.panel.dataset.lookback}
        while min(lags) // 2 >= 2 and len(lags) < 5:
            lags.add(min(lags) // 2)
        return sorted(lags)
