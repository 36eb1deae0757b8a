"""One object for test and service: spec, scaling, skip and weights; forecasts with NumPy alone.

A forecast at a row sees exactly the last `lookback` rows up to it, so what is served equals what was backtested.
Statistical models are the exception: their state is filtered from the first row on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forecast import models
from forecast.config.datasets import Dataset
from forecast.config.reading import validated
from forecast.data.panel import Panel, Series
from forecast.data.scaling import Scaling, inverse
from forecast.data.windows import Layout, Windows, batches, filled, layout
from forecast.forecaster.closed_loop import added, parallel
from forecast.models.base import BaselineSpec, LinearSpec, ModelSpec, NetworkSpec, ServiceSpec, StatisticalSpec
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network, Shapes
from forecast.networks.heads import FittedHead, Point
from forecast.system import files
from forecast.system.errors import InputError, ModelFailure, quote_names

SCHEMA = 1


@dataclass(frozen=True)
class Forecaster:
    """A fitted model of one dataset. `statistical[uid]`: the fitted numbers of each output, as JSON.

    `head`: of a network that gives more than a point, see `forecast.forecaster.distributions`; `dependence`
    (H * O, H * O): how the steps of a direct one hang together (`forecast.networks.heads.dependence`).
    `correction`: of the mixed strategy, what a linear map of the whole horizon adds to the closed loop.
    """

    dataset_name: str
    dataset: Dataset
    spec: ModelSpec
    scaling: Scaling
    skip: Skip | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    statistical: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    head: FittedHead | None = None
    dependence: np.ndarray | None = None
    correction: Skip | None = None

    @property
    def channels(self) -> Layout:
        return layout(self.dataset)

    @property
    def network(self) -> Network | None:
        return network_of(self.spec, self.dataset) if isinstance(self.spec, NetworkSpec) else None

    @property
    def n_params(self) -> int:
        """Numbers fitted to data: the network's weights, or the skip's coefficients where it stands alone."""
        if isinstance(self.spec, LinearSpec) and self.skip is not None:
            return self.skip.n_params + (self.correction.n_params if self.correction else 0)
        if isinstance(self.spec, ServiceSpec):
            return 0
        return int(sum(w.size for w in self.weights.values()))

    def predict(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(n, H, O) forecasts in raw units per series, made at `rows` (the last row each may see)."""
        self.check_known(panel, rows)
        return {uid: self._predict_series(panel.by_id[uid], np.asarray(at)) for uid, at in rows.items()}

    def check_known(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> None:
        """`InputError` for series that the panel does not have."""
        unknown = rows.keys() - panel.by_id.keys()
        if unknown:
            raise InputError(
                f"No series {quote_names(unknown)} in dataset {panel.name!r}; it has {quote_names(panel.by_id)}. "
                "Ask for one of them."
            )

    def predict_latest(self, panel: Panel) -> dict[str, np.ndarray]:
        """(H, O) forecasts in raw units that follow the last row of every series."""
        rows = {s.unique_id: np.array([len(s) - 1]) for s in panel.series}
        return {uid: values[0] for uid, values in self.predict(panel, rows).items()}

    def _predict_series(self, series: Series, rows: np.ndarray) -> np.ndarray:
        if len(rows) == 0:
            return np.empty((0, self.dataset.horizon, self.channels.outputs))
        if isinstance(self.spec, ServiceSpec):
            self.check_rows(series, rows)
            return self._said(series, rows)
        if isinstance(self.spec, StatisticalSpec):
            self.check_rows(series, rows)
            scaled = self._statistical(series, self.scaling.scaled(series, self.dataset), rows)
        else:
            scaled = np.concatenate([self.scaled_forecast(windows) for windows in self.windows(series, rows)])
        return self.raw(scaled, series, rows)

    def windows(self, series: Series, rows: np.ndarray, *, size: int = 512) -> Iterator[Windows]:
        """What a forecast at each of `rows` sees, `size` at a time; `InputError` where the series does not reach."""
        self.check_rows(series, rows)
        z = self.scaling.scaled(series, self.dataset)
        spans = {"lookback": self.dataset.lookback, "horizon": self.dataset.horizon, "size": size}
        return batches(z, series.future, rows, self.channels, **spans)

    def check_rows(self, series: Series, rows: np.ndarray) -> None:
        """`InputError` for rows without their lookback, or beyond the series."""
        short, beyond = rows[rows < self.dataset.lookback - 1], rows[rows >= len(series)]
        if len(short):
            raise InputError(
                f"Series {series.unique_id!r}: a forecast at row {int(short[0])} has {int(short[0]) + 1} rows of "
                f"history; lookback={self.dataset.lookback} are needed. Give a longer history or a later cutoff."
            )
        if len(beyond):
            raise InputError(
                f"Series {series.unique_id!r}: a forecast at row {int(beyond[0])} was asked for; its last row is "
                f"{len(series) - 1}. Give newer data or an earlier cutoff."
            )

    def scaled_forecast(self, windows: Windows) -> np.ndarray:
        """(B, H, O) in scaled units."""
        horizon, channels = self.dataset.horizon, self.channels
        if isinstance(self.spec, BaselineSpec):
            return self.spec.forecast(windows, channels, horizon=horizon, season=self.dataset.season)
        if self.skip is None:
            raise InputError(f"Model {self.spec.family!r} was saved without its skip; train it again.")
        recursive = isinstance(self.spec, LinearSpec | NetworkSpec) and self.spec.recursive
        if recursive or self.correction is not None:
            about = (self.network, self.weights, self.skip, windows, channels)
            run = parallel(*about, horizon=horizon, choice=self.fed_back)
            if self.correction is None:
                return run
            return run + self.correction.forecast(windows, channels) - windows.last[:, None]
        forecast = self.skip.forecast(windows, channels)
        if self.network is None:
            return forecast
        raw = self.raw_parameters(windows)
        return forecast + raw[..., 0] if self.head is None else self.head.point(raw, forecast, windows.last[:, None])

    def raw_parameters(self, windows: Windows) -> np.ndarray:
        """(B, H, O, K): what a direct network says at the end of each window."""
        network = self.network
        if network is None:
            raise InputError(f"Model {self.spec.family!r} is not a network. Choose a network.")
        future = windows.future if network.shapes.future_channels else None
        return inference.last(network, self.weights, windows.past, future)

    def fed_back(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(B, O): the head's point forecast of one step of a closed loop, see `forecaster.closed_loop.Choice`."""
        if self.head is None:
            return added(raw, base, last)
        return self.head.point(raw[:, None], base[:, None], last[:, None])[:, 0]

    def _statistical(self, series: Series, z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        from forecast.models import statistical

        values = filled(z[None, :, : self.channels.outputs])[0][0]
        fitted = [statistical.restore(numbers) for numbers in self.statistical[series.unique_id]]
        outputs = [model.forecasts(values[:, o], rows, self.dataset.horizon) for o, model in enumerate(fitted)]
        forecasts = np.stack(outputs, axis=2)
        if not np.isfinite(forecasts).all():
            raise ModelFailure(f"{self.spec.family} forecasts of series {series.unique_id!r} are not finite.")
        return forecasts

    def _said(self, series: Series, rows: np.ndarray) -> np.ndarray:
        """(n, H, O) in raw units, as the service gave them; `ModelFailure` unless it had spoken at every origin."""
        cutoffs = series.ds[rows].astype("datetime64[ns]").astype(np.int64)
        kept = self.weights.get(f"{series.unique_id}/cutoff", np.empty(0, dtype=np.int64))
        at = np.searchsorted(kept, cutoffs)
        silent = ~np.isin(cutoffs, kept)
        if silent.any():
            raise ModelFailure(
                f"The service had said nothing about the whole horizon at {int(silent.sum())} of {len(rows)} origins "
                f"of series {series.unique_id!r}, first at {series.ds[rows[silent][0]].astype('datetime64[m]')}. Keep "
                "more of its forecasts (`previous_runs_url`), or move the dates under `splits`."
            )
        return self.weights[f"{series.unique_id}/said"][at].copy()

    def raw(self, scaled: np.ndarray, series: Series, rows: np.ndarray) -> np.ndarray:
        """(n, any number of steps, O) forecasts in scaled units, made at `rows` (n,), in raw ones."""
        raw = np.empty_like(scaled, dtype=np.float64)
        observed = filled(series.values[None, :, : self.channels.outputs])[0][0]
        for output, column in enumerate(self.dataset.target):
            units = self.scaling.unscaled(scaled[:, :, output], series.unique_id, output)
            raw[:, :, output] = inverse(units, column, observed[rows, output])
        return raw

    def save(self, folder: Path) -> None:
        """Spec, scaling, skip and weights; no pickle, loadable without TensorFlow; equal content is equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "dataset_name": self.dataset_name,
            "dataset": self.dataset.model_dump(mode="json"),
            "spec": self.spec.model_dump(mode="json"),
            "skip": self.skip.to_json() if self.skip else None,
            "statistical": dict(self.statistical),
        }
        if self.correction:
            content["correction"] = self.correction.to_json()
            files.write_arrays(folder / "correction.npz", self.correction.to_arrays())
        files.write_json(folder / "spec.json", content)
        files.write_json(folder / "scaling.json", self.scaling.to_json())
        files.write_arrays(folder / "weights.npz", dict(self.weights))
        if self.skip:
            files.write_arrays(folder / "skip.npz", self.skip.to_arrays())
        if self.head:
            files.write_arrays(folder / "head.npz", dict(self.head.constants))
        if self.dependence is not None:
            files.write_arrays(folder / "dependence.npz", {"correlation": self.dependence})

    @classmethod
    def load(cls, folder: Path) -> Forecaster:
        """The saved forecaster; `InputError` when the folder holds another schema."""
        content = files.read_saved(folder / "spec.json", SCHEMA)
        skip, correction = content["skip"], content.get("correction")
        spec = models.spec(content["spec"], where=f"{folder}/spec.json: spec")
        dependence = folder / "dependence.npz"
        return cls(
            dataset_name=content["dataset_name"],
            dataset=validated(Dataset, content["dataset"], where=f"{folder}/spec.json: dataset"),
            spec=spec,
            scaling=Scaling.from_json(files.read_json(folder / "scaling.json")),
            skip=Skip.from_saved(skip, files.read_arrays(folder / "skip.npz")) if skip else None,
            weights=files.read_arrays(folder / "weights.npz"),
            statistical=content["statistical"],
            head=_saved_head(spec, folder),
            dependence=files.read_arrays(dependence)["correlation"] if dependence.exists() else None,
            correction=Skip.from_saved(correction, files.read_arrays(folder / "correction.npz"))
            if correction
            else None,
        )


def _saved_head(spec: ModelSpec, folder: Path) -> FittedHead | None:
    if not isinstance(spec, NetworkSpec) or isinstance(spec.head, Point):
        return None
    if not (folder / "head.npz").exists():
        raise InputError(
            f"{folder}: head.npz is missing, without which {spec.head.kind!r} says nothing. Train it again."
        )
    return FittedHead(spec.head, files.read_arrays(folder / "head.npz"))


def network_of(spec: NetworkSpec, dataset: Dataset) -> Network:
    """The network a spec builds for a dataset; recursive families are one-step maps."""
    channels = layout(dataset)
    shapes = Shapes(
        channels=channels.channels,
        future_channels=2 * len(dataset.future),
        horizon=1 if spec.recursive else dataset.horizon,
        outputs=channels.outputs,
        lookback=dataset.lookback,
        target_channels=channels.target_channels,
        parameters=spec.head.parameters,
    )
    return spec.build(shapes)
