"""The base classes of heads: `Head` has the options and equations of one kind; `FittedHead` is a
head with the constants that it learnt from the train rows, which training and forecaster use.

Shapes: N examples, B windows, H horizon, O outputs, K parameters per value.

A head turns the output of the network, `raw`, into a forecast beside the skip. Its constants are
fitted on the train rows so that a network output of zero stands for the skip with the spread of its
train residuals. All values are in scaled units:

    residual = y - skip        lead = skip - last observed value

A loss is written with the array functions of `Maths`, arithmetic and slicing, so that one equation
serves NumPy (here) and TensorFlow (`forecast.training.descent`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy
from pydantic import ConfigDict

from forecast.config.reading import Config
from forecast.networks.cells.base import Namespace
from forecast.networks.heads.distributions import Distribution

Constants = Mapping[str, np.ndarray]
"""The constants of a head, fitted on the train rows without a gradient: arrays (H, O) or (H, O,
...) by name.
"""

MIN_SCALE_SHARE = 0.01
"""The smallest scale or gap between quantiles, as a share of that at an output of zero."""

MIN_SPREAD = 1e-6
"""The least spread of residuals, in scaled units."""


class Head(Config):
    """The options of one kind of head and its equations; in configs/models.yaml `head: <kind>` or
    `head: {kind: ..., ...}`.

    A kind of head writes `parameters`, `fit` and `loss`; `distribution` where it has one; `target`
    and `offset` where the loss does not compare with the residual; `point` where no parameter is
    the location.
    """

    # pydantic 2.13 and older cannot dump a deferred class in a field that is serialized as any
    model_config = ConfigDict(defer_build=False)

    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]

    has_constants: ClassVar[bool] = True
    """Whether it has constants; a head without them is trained by the `loss` of the entry."""
    compares_with_last: ClassVar[bool] = False
    """Whether it forecasts that a value lies above the last observed one, which is not possible for
    a target that is modelled by its changes.
    """
    uses_lead: ClassVar[bool] = False
    """Whether its loss depends on the lead, not on the residual alone."""
    has_density: ClassVar[bool] = False
    """Whether it is trained by its density, so that a log score judges it; the density of other
    heads only interpolates between quantiles.
    """
    has_distribution: ClassVar[bool] = True
    """Whether `distribution` gives quantiles, probabilities and samples."""

    kind: str

    @property
    def parameters(self) -> int:
        """K, the number of parameters per value."""
        raise NotImplementedError

    @property
    def location_index(self) -> int | None:
        """The index, on the last axis of `raw`, of the parameter that is added to the skip as the
        location, and that an encoder-decoder feeds back; None: there is none.
        """
        return 0

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The constants from residuals and leads of the train rows (N, H, O), NaN where a target is
        missing.
        """
        raise NotImplementedError

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """The targets (N, H, O) of the loss, by default the residuals; NaN where there is none."""
        return residual

    def offset(self, lead: np.ndarray, constants: Constants) -> np.ndarray | None:
        """The skip's part (N, H, O), which is added to every parameter of the network's output;
        None: no such part.
        """
        return None

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The loss (..., H, O) of each value from `raw` (..., H, O, K) with the offset added, and
        the targets (..., H, O) of `target`.
        """
        raise NotImplementedError

    def distribution(
        self, raw: np.ndarray, skip_forecast: np.ndarray, constants: Constants
    ) -> Distribution:
        """The distribution of y in scaled units: raw (B, H, O, K), skip_forecast (B, H, O) the
        skip's forecast.
        """
        raise NotImplementedError

    def point(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """(B, H, O), the location, or the median of a head without one; last (B, 1, O)."""
        if self.location_index is not None:
            return skip_forecast + raw[..., self.location_index]
        return self.distribution(raw, skip_forecast, constants).ppf(
            np.full(skip_forecast.shape, 0.5)
        )

    def rise_probability(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """P(y > last), (B, H, O); last (B, 1, O)."""
        return 1.0 - self.distribution(raw, skip_forecast, constants).cdf(
            np.broadcast_to(last, skip_forecast.shape)
        )

    def sample(
        self,
        raw: np.ndarray,
        skip_forecast: np.ndarray,
        last: np.ndarray,
        constants: Constants,
        u: np.ndarray,
    ) -> np.ndarray:
        """(B, H, O) in scaled units: the values that the probabilities u (B, H, O) in (0, 1) stand
        for. Who draws a sample draws u; skip_forecast (B, H, O) is the skip's forecast, last (B, 1,
        O) for a head that needs it.
        """
        return self.distribution(raw, skip_forecast, constants).ppf(u)


class Point(Head):
    """A point forecast, added to the skip; trained by the `loss` of the entry
    (`networks.losses`).
    """

    summary: ClassVar[str] = "One number, no distribution."
    equation: ClassVar[str] = "y = skip + p"
    source: ClassVar[str] = "Huber 1964 for the default loss"
    has_constants: ClassVar[bool] = False
    has_distribution: ClassVar[bool] = False
    parameters: ClassVar[int] = 1

    kind: Literal["point"] = "point"


@dataclass(frozen=True)
class FittedHead:
    """A `Head` with its fitted constants. Its methods are those of the head, where `raw` is the
    output of the network without the offset, in float64 (`Forecaster.network_output`).
    """

    head: Head
    constants: Constants

    def target(self, residual: np.ndarray, lead: np.ndarray) -> np.ndarray:
        """The targets (N, H, O) of the loss; NaN where there is none."""
        return self.head.target(residual, lead, self.constants)

    def offset(self, lead: np.ndarray) -> np.ndarray | None:
        """The skip's part (N, H, O) of every parameter, or None."""
        return self.head.offset(lead, self.constants)

    def loss(self, xp: Maths, raw: Array, target: Array, offset: Array | None) -> Array:
        """The training loss (..., H, O) from the network's output `raw` (..., H, O, K); offset:
        that of `offset` (..., H, O), added to all K parameters, or None.
        """
        shifted = raw if offset is None else raw + offset[..., None]
        return self.head.loss(xp, shifted, target, self.constants)

    def validation_losses(
        self, raw: np.ndarray, residual: np.ndarray, lead: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The validation losses (B, H, O) in float64, and which of them are known, from raw (B, H,
        O, K), residual (B, H, O), NaN where y is missing, and lead (B, H, O).
        """
        target = self.target(residual, lead)
        known = np.isfinite(target)
        raw = raw.astype(np.float64)
        losses = self.loss(numpy_maths, raw, np.where(known, target, 0.0), self.offset(lead))
        return losses, known

    def distribution(self, raw: np.ndarray, skip_forecast: np.ndarray) -> Distribution:
        """The distribution of y: raw (B, H, O, K), skip_forecast (B, H, O) the skip's forecast."""
        return self.head.distribution(raw, skip_forecast, self.constants)

    def rise_probability(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray
    ) -> np.ndarray:
        """P(y > last), (B, H, O); arguments as in `point`."""
        return self.head.rise_probability(raw, skip_forecast, last, self.constants)

    def sample(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray, u: np.ndarray
    ) -> np.ndarray:
        """The quantiles (B, H, O) at the probabilities `u` (B, H, O); other arguments as in
        `point`.
        """
        return self.head.sample(raw, skip_forecast, last, self.constants, u)

    def point(self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(B, H, O) in scaled units: raw (B, H, O, K), skip_forecast (B, H, O) the skip's forecast,
        last (B, 1, O).
        """
        return self.head.point(raw, skip_forecast, last, self.constants)


def residual_spread(residual: np.ndarray) -> np.ndarray:
    """The root mean square (H, O) of the known residuals (N, H, O); at least `MIN_SPREAD`."""
    mean_square = mean_where(np.isfinite(residual), np.square(residual))
    return np.maximum(np.sqrt(mean_square), MIN_SPREAD)


def mean_where(is_counted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean (H, O) of the counted `values` (N, H, O); 0 where none is counted."""
    counted = np.where(is_counted, values, 0.0)
    return counted.sum(axis=0) / np.maximum(is_counted.sum(axis=0), 1)


Array = Any
"""A NumPy array or a TensorFlow tensor."""


class Maths(Namespace):
    """The array functions that losses are written with, in NumPy; `training.descent.TensorMaths`
    overrides all of them in TensorFlow. They keep the dtype of their arguments and work along the
    last axis. A loss that needs another function adds it in both classes.
    """

    log = staticmethod(np.log)
    log1p = staticmethod(np.log1p)
    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    square = staticmethod(np.square)

    def constant(self, values: np.ndarray) -> Array:
        """`values` as an array of this kind."""
        return values

    def squeeze(self, x: Array) -> Array:
        """(...) from (..., 1)."""
        return x[..., 0]

    def lgamma(self, x: Array) -> Array:
        """ln Gamma(x)."""
        return scipy.special.gammaln(x)

    def cumsum(self, x: Array) -> Array:
        """Cumulative sums, (..., n)."""
        return np.cumsum(x, axis=-1)

    def mean(self, x: Array) -> Array:
        """(...) from (..., n)."""
        return np.mean(x, axis=-1)

    def cross_entropy(self, logits: Array, index: Array) -> Array:
        """-ln softmax(logits)[index]: logits (..., n), index (...) whole numbers in any dtype;
        result (...).
        """
        chosen = np.take_along_axis(logits, np.asarray(index, dtype=int)[..., None], axis=-1)[
            ..., 0
        ]
        return scipy.special.logsumexp(logits, axis=-1) - chosen


numpy_maths = Maths()


def inverse_softplus(y: float) -> float:
    """x with softplus(x) = y, for y > 0: added to a parameter, it makes zero stand for y."""
    return float(np.log(np.expm1(y)))


UNIT = inverse_softplus(1.0 - MIN_SCALE_SHARE)


def positive_scale(xp: Maths, unit: np.ndarray, raw: Array) -> Array:
    """A positive scale from the parameter `raw`: `unit` where it is zero, and everywhere above
    `MIN_SCALE_SHARE` times `unit`.
    """
    return xp.constant(unit) * (MIN_SCALE_SHARE + xp.softplus(raw + UNIT))
