"""`Forecaster`, a fitted model of any family, which forecasts without TensorFlow.

`fitting` makes it; backtest and service forecast with the same object, which is saved as a folder
of JSON and arrays. A network's forecast is added to that of its skip; recursive models run in
closed loop over the horizon; rules and statistical models forecast by themselves. A forecast at a
row reads exactly the last `lookback` rows up to it, so service and backtest agree. The exceptions
are statistical models, whose state is filtered from the first row on, and `seasonal_naive`, whose
windows have a whole season (`needs_whole_season`). `distributions` has quantiles and sample paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from forecast import models
from forecast.config.reading import validate_config
from forecast.config.task import Task
from forecast.config.transforms import TRANSFORMS
from forecast.data.hierarchy import summing_matrix
from forecast.data.panel import Panel, Series
from forecast.data.scaling import Scaling, invert_transform
from forecast.data.windows import Layout, Windows, fill_gaps, layout, require_rows, task_windows
from forecast.forecaster.loops import Feedback, Loop, add_network
from forecast.forecaster.reconciliation import reconcile, smear
from forecast.models.base import OF_SAVED_MODEL, ModelSpec
from forecast.models.problem import WINDOWS_PER_BATCH, ForecastRequest
from forecast.models.series_fit import SeriesFit, fits_from_json, fits_to_json
from forecast.models.skip import Skip
from forecast.models.statistical import StatisticalSpec
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.networks.heads import FittedHead
from forecast.system import files
from forecast.system.errors import InputError, quote_names

SCHEMA = 9
"""Version of the saved files; `files.read_saved` refuses any other."""
SKIPS = ("skip", "correction")
"""Fields that are each saved in spec.json and in a file of arrays, where they are set."""
SINGLE_ARRAYS = ("dependence", "smearing", "reconciliation")
"""Fields that are each saved as a file of one array, where they are set."""
MIN_SERIES_IN_GROUP = 20
MAX_ROWS_IN_GROUP = 64
"""Requests for at least so many series, of at most so many rows each, are forecast in joined
batches. Any smaller request gives the same bits as one for a single series.
"""
ROUNDING = 1e-8
"""Skips whose coefficients differ by less are equal: processes that sum the same rows in other
portions find coefficients that differ by 1e-10.
"""


@dataclass(frozen=True)
class Forecaster:
    """A fitted model of one dataset, with its task and scaling: ready to forecast.

    `skip`: the closed-form part that the network is added to, or that is the whole model.
    `weights`: by name, of a network, or the fitted arrays of another family. `statistical[uid]`:
    the fit of each target, of a statistical family. `head`: the distribution head of a network
    (`forecaster.distributions`). `dependence` (H * O, H * O): the correlation between the steps and
    targets of a direct network with such a head. `correction`: the linear map that the family
    `rectify` adds to the closed loop. `smearing`, `reconciliation`: make forecasts means, and those
    of a hierarchy add up (`forecaster.reconciliation`), of the series `corrected_series`.
    """

    dataset_name: str
    task: Task
    spec: ModelSpec
    scaling: Scaling
    skip: Skip | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    statistical: Mapping[str, Sequence[SeriesFit]] = field(default_factory=dict)
    head: FittedHead | None = None
    dependence: np.ndarray | None = None
    correction: Skip | None = None
    corrected_series: tuple[str, ...] = ()
    smearing: np.ndarray | None = None
    reconciliation: np.ndarray | None = None
    steps: int | None = None
    """Gradient steps that its weights took; None for a model that is not trained by gradient."""

    def __post_init__(self) -> None:
        """`InputError` where `smearing` and `reconciliation` are those of other series."""
        others = self.scaling.centre.keys() ^ self.corrected_series
        if self.corrected_series and others:
            raise InputError(
                f"Dataset {self.dataset_name!r}: series {quote_names(others)} are only in the model"
                " or only in the corrections of its forecasts; wanted the same in both. Train it"
                " again."
            )

    @cached_property
    def channels(self) -> Layout:
        """The input channels of a window, by column of the task."""
        return layout(self.task)

    @cached_property
    def network(self) -> Network | None:
        """The description of its network; None for a model without one."""
        return self.spec.network(self.task)

    @property
    def n_params(self) -> int:
        """How many numbers were fitted to data, as its family counts them: the weights of a
        network, the coefficients of a skip that is the whole model, the arrays of any other.
        """
        return self.spec.n_params(self)

    def predict(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Point forecasts (n, H, O) per series, in raw units, made at `rows` (n,), the last row
        that each forecast may see. `InputError` for series that the panel lacks.

        Reconciled forecasts of a hierarchy add up; for them every series of it is forecast.
        """
        self.require_series(panel, rows)
        if self.reconciliation is None:
            return self._predict_each(panel, rows)
        times = {uid: panel.by_id[uid].ds[np.asarray(at)] for uid, at in rows.items()}
        cutoffs = np.unique(np.concatenate(list(times.values())))
        base = self._predict_each(panel, self._rows_at(panel, cutoffs))
        names = sorted(base)
        values = reconcile(
            np.stack([base[name] for name in names]),
            names,
            self.reconciliation,
            self.task.target[0].minimum,
        )
        coherent = dict(zip(names, values, strict=True))
        return {uid: coherent[uid][np.searchsorted(cutoffs, times[uid])] for uid in rows}

    def _rows_at(self, panel: Panel, cutoffs: np.ndarray) -> dict[str, np.ndarray]:
        """The rows of all series and sums of a hierarchy at `cutoffs`; `InputError` where a series
        is missing or has no row at a cutoff.
        """
        names = sorted(self.scaling.centre)
        series = [names[place] for place in summing_matrix(names)[1]]
        missing = sorted({*series} - {*panel.by_id})
        if missing:
            raise InputError(
                f"Series {quote_names(missing)} not found; forecasts of a hierarchy add up, so"
                " every series is needed. Give the rows of all."
            )
        rows = {}
        for uid in names:
            times = panel.by_id[uid].ds
            rows[uid] = np.minimum(np.searchsorted(times, cutoffs), len(times) - 1)
            if (times[rows[uid]] != cutoffs).any():
                raise InputError(
                    f"Series {uid!r} has no row at a cutoff of the others; wanted one end for all,"
                    " so that their forecasts add up. Complete it."
                )
        return rows

    def _predict_each(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Point forecasts (n, H, O) of every series by itself, without reconciliation."""
        requests = {uid: (panel.by_id[uid], np.asarray(at)) for uid, at in rows.items() if len(at)}
        values = self.spec.predict(self, list(requests.values()))
        if self.smearing is not None:
            values = [
                self._to_means(forecasts, uid)
                for uid, forecasts in zip(requests, values, strict=True)
            ]
        nothing = np.empty((0, self.task.horizon, self.channels.outputs))
        return dict.fromkeys(rows, nothing) | dict(zip(requests, values, strict=True))

    def _to_means(self, forecasts: np.ndarray, unique_id: str) -> np.ndarray:
        """The means (n, H, O) of one series by the smearing estimate, from its median `forecasts`
        (n, H, O) in raw units. Steps after the trained horizon use the errors of its last step.
        """
        assert self.smearing is not None
        errors = self.smearing[sorted(self.scaling.centre).index(unique_id)]
        means = forecasts.copy()
        for step in range(forecasts.shape[1]):
            for output, column in enumerate(self.task.target):
                of_step = errors[min(step, len(errors) - 1), output]
                means[:, step, output] = smear(forecasts[:, step, output], of_step, column)
        return means

    def join_twin(self, other: Forecaster) -> Forecaster | None:
        """One forecaster with the weights of `other` appended along the first axis, which is new
        where this is a single network. Of n joined networks, the twins of `networks.inference`,
        network k forecasts the rows k, k + n, k + 2 n, ... of a request.

        None where the two differ in more than the weights, have a head or corrections, or read
        segments.
        """
        if self.network is None or self.network.is_segmented:
            return None
        for name in ("head", "correction", *SINGLE_ARRAYS):
            if getattr(self, name) is not None or getattr(other, name) is not None:
                return None
        if other.spec != self.spec or other._settings() != self._settings():
            return None
        others = other._require_skip().to_arrays()
        for name, array in self._require_skip().to_arrays().items():
            if not np.allclose(array, others[name], rtol=0.0, atol=ROUNDING, equal_nan=True):
                return None
        weights = {
            name: np.concatenate([self.weights[name].reshape(-1, *array.shape), array[None]])
            for name, array in other.weights.items()
        }
        return replace(self, weights=weights)

    def _settings(self) -> tuple[Any, ...]:
        """The settings beside the spec that two networks must share to be joined."""
        skip = self._require_skip()
        return self.task, self.scaling.to_json(), skip.to_json(), [*skip.to_arrays()]

    def require_series(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> None:
        """`InputError` for series that the panel lacks."""
        unknown = [uid for uid in rows if uid not in panel.by_id]
        if unknown:
            raise InputError(
                f"No series {quote_names(unknown)} in dataset {panel.name!r}; it has"
                f" {quote_names(panel.by_id)}. Ask for one of them."
            )

    def predict_windows(self, requests: Sequence[ForecastRequest]) -> list[np.ndarray]:
        """The forecasts (n, H, O) of each request in raw units, by `ModelSpec.scaled_forecast`; for
        families that read windows alone, within `Scaling.hold_to_range`. Many small requests are
        forecast together (`_group_requests`).
        """
        reader = self
        first_row = self.task.season_length - 1
        if self.spec.needs_whole_season and all((rows >= first_row).all() for _, rows in requests):
            reader = replace(self, task=self.task.with_whole_season())
        forecasts = []
        for group in _group_requests(requests):
            batches: list[Windows] = []
            for series, rows in group:
                batches += reader.windows(series, rows)
            if len(group) > 1:
                batches = [Windows.concatenate(batches)]
            scaled = np.concatenate(
                [self.spec.scaled_forecast(self, windows) for windows in batches]
            )
            ends = np.cumsum([len(rows) for _, rows in group])[:-1]
            last = np.concatenate([windows.last for windows in batches])
            parts = zip(np.split(scaled, ends), np.split(last, ends), group, strict=True)
            for part, newest, (series, rows) in parts:
                limited = self.scaling.hold_to_range(part, newest, series.unique_id)
                forecasts.append(self.to_raw_units(limited, series, rows))
        return forecasts

    def windows(
        self, series: Series, rows: np.ndarray, *, batch_size: int = 512
    ) -> Iterator[Windows]:
        """The windows that forecasts at `rows` read, up to `batch_size` at a time. `InputError` for
        a row without a whole lookback, or without the known-future inputs of its horizon.
        """
        require_rows(self.task, series, rows)
        last = int(rows.max(initial=0))
        known = len(series.future)
        if series.future.shape[1] and last + self.task.horizon >= known:
            raise InputError(
                f"Series {series.unique_id!r}: {self.task.horizon} steps from row {last} need"
                f" known-future inputs up to row {last + self.task.horizon}; they are known up to"
                f" row {known - 1}. Start earlier, or ask for fewer."
            )
        if series.gathered is None:
            return self._gather_windows(series, rows, batch_size)
        key = (self.task, self.scaling.bytes_of(series), rows.tobytes(), batch_size)
        if key not in series.gathered:
            series.gathered[key] = [*self._gather_windows(series, rows, batch_size)]
        return iter(series.gathered[key])

    def _gather_windows(
        self, series: Series, rows: np.ndarray, batch_size: int
    ) -> Iterator[Windows]:
        """The `windows` of valid rows, without the cache."""
        z = self.scaling.scale_series(series, self.task)
        return task_windows(
            self.task, z, series.future, rows, unique_id=series.unique_id, size=batch_size
        )

    def forecast_with_skip(self, windows: Windows) -> np.ndarray:
        """Point forecasts (B, H, O) in scaled units: the skip plus the network. One-step models run
        in closed loop over the horizon; the correction of `rectify` is added to that.
        """
        if self.spec.is_recursive or self.correction is not None:
            path = self.run_closed_loop(windows)
            if self.correction is None:
                return path
            return path + self.correction.forecast(windows, self.channels) - windows.last[:, None]
        base = self._require_skip().forecast(windows, self.channels)
        if self.network is None:
            return base
        raw = self.network_output(windows)
        if self.head is None:
            return base + raw[..., 0]
        return self.head.point(raw, base, windows.last[:, None])

    def run_closed_loop(self, windows: Windows, *, feedback: Feedback | None = None) -> np.ndarray:
        """Forecasts (B, H, O) of the closed `Loop` in scaled units, fed with point forecasts, or
        with what the function `feedback` makes of each step.
        """
        skip = self._require_skip()
        horizon = self.task.horizon
        loop = Loop(self.network, self.weights, skip, windows, self.channels, horizon=horizon)
        return loop.run(feedback or self.point_step)

    def _require_skip(self) -> Skip:
        """The skip; for families that always have one."""
        assert self.skip is not None
        return self.skip

    def network_output(self, windows: Windows) -> np.ndarray:
        """The output (B, H, O, K) of a direct network at the end of each window, before its head,
        in float64; `InputError` for a model without a network.
        """
        network = self.network
        if network is None:
            raise InputError("The model is not a network. Choose a network.")
        future = windows.future if network.shapes.future_channels else None
        raw = inference.forecast_last(network, self.weights, windows.past, future)
        return raw.astype(np.float64)

    def point_step(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The point forecast (B, O) of one step of a closed loop; a `loops.Feedback`."""
        if self.head is None:
            return add_network(raw, base, last)
        return self.head.point(raw[:, None], base[:, None], last[:, None])[:, 0]

    def to_raw_units(self, scaled: np.ndarray, series: Series, rows: np.ndarray) -> np.ndarray:
        """The forecasts `scaled` (n, H, O) made at `rows` (n,) of a series, in the units of the
        data: unscaled, and the transform of each target inverted. H may be any number of steps.
        """
        raw = np.empty_like(scaled, dtype=np.float64)
        last = np.full((len(rows), raw.shape[2]), np.nan)
        if any(TRANSFORMS[column.transform].takes_changes for column in self.task.target):
            visible_values = self.scaling.hide_wild(series)[None, :, : self.channels.outputs]
            last = fill_gaps(visible_values)[0][0][rows]
        for output, column in enumerate(self.task.target):
            units = self.scaling.unscale(scaled[:, :, output], series.unique_id, output)
            raw[:, :, output] = invert_transform(units, column, last[:, output])
        return raw

    def save(self, folder: Path) -> None:
        """Write the folder that `load` reads, over any earlier model in it: spec, scaling, skip and
        weights as JSON and arrays, without pickle. Equal models give equal bytes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "dataset_name": self.dataset_name,
            "task": self.task.model_dump(mode="json"),
            "spec": self.spec.model_dump(mode="json"),
            "skip": None,
            "statistical": fits_to_json(self.statistical),
            "corrected_series": self.corrected_series,
            "steps": self.steps,
        }
        arrays = {"weights": self.weights}
        for name in SKIPS:
            part: Skip | None = getattr(self, name)
            if part:
                content[name] = part.to_json()
                arrays[name] = part.to_arrays()
        if self.head:
            arrays["head"] = self.head.constants
        for name in SINGLE_ARRAYS:
            # a file of an earlier model would be loaded as part of this one
            (folder / f"{name}.npz").unlink(missing_ok=True)
            if getattr(self, name) is not None:
                arrays[name] = {name: getattr(self, name)}
        files.write_json(folder / "spec.json", content)
        files.write_json(folder / "scaling.json", self.scaling.to_json())
        for name, arrays_of_file in arrays.items():
            files.write_arrays(folder / f"{name}.npz", dict(arrays_of_file))

    @classmethod
    def load(cls, folder: Path) -> Forecaster:
        """The saved forecaster.

        `InputError` for another schema, an invalid spec or an invalid task; `DamagedError` for a
        missing or damaged file.
        """
        content = files.read_saved(folder / "spec.json", SCHEMA)
        spec = models.spec(
            content["spec"], where=f"{folder}/spec.json: spec", context=OF_SAVED_MODEL
        )
        statistical = {}
        if isinstance(spec, StatisticalSpec):
            statistical = fits_from_json(spec.series_model, content["statistical"])
        parts: dict[str, Any] = {}
        for name in SKIPS:
            if content.get(name):
                arrays = files.read_arrays(folder / f"{name}.npz")
                parts[name] = Skip.from_saved(content[name], arrays)
        for name in SINGLE_ARRAYS:
            if (folder / f"{name}.npz").exists():
                parts[name] = files.read_arrays(folder / f"{name}.npz")[name]
        if spec.distribution_head is not None:
            constants = files.read_arrays(folder / "head.npz")
            parts["head"] = FittedHead(spec.distribution_head, constants)
        return cls(
            dataset_name=content["dataset_name"],
            task=validate_config(Task, content["task"], where=f"{folder}/spec.json: task"),
            spec=spec,
            scaling=Scaling.from_json(files.read_json(folder / "scaling.json")),
            weights=files.read_arrays(folder / "weights.npz"),
            statistical=statistical,
            corrected_series=tuple(content.get("corrected_series", ())),
            steps=content.get("steps"),
            **parts,
        )


def _group_requests(requests: Sequence[ForecastRequest]) -> Iterator[list[ForecastRequest]]:
    """The requests in groups that are forecast together, of about `WINDOWS_PER_BATCH` windows each.
    Every request is a group of its own where there are fewer than `MIN_SERIES_IN_GROUP`, or one has
    more than `MAX_ROWS_IN_GROUP` rows.
    """
    sizes = [len(rows) for _, rows in requests]
    if len(sizes) < MIN_SERIES_IN_GROUP or max(sizes) > MAX_ROWS_IN_GROUP:
        yield from ([request] for request in requests)
        return
    groups = np.cumsum(sizes) // WINDOWS_PER_BATCH
    for number in np.unique(groups):
        first, end = np.searchsorted(groups, [number, number + 1])
        yield list(requests[first:end])
