"""What every head provides: `Head`, the options of one kind with its equations, and `FittedHead`,
the same with the constants learnt on train, which training and forecaster use.

Shapes: N examples, B windows, H horizon, O outputs, K raw parameters per value.

A head turns the network's raw parameters into a forecast beside the skip. Its constants are fitted
once on the train rows, so that raw parameters of zero (an untrained network) stand for the skip
with the spread of its train residuals; the network then learns how a forecast differs from that.
All in scaled units:

    residual = y - skip        lead = skip - last observed value

A loss is written in the array functions of `Maths`, and in `+ - * /` and slicing, which both kinds
of array share, so that each equation stands once: NumPy's form is here, TensorFlow's form in
`forecast.training.descent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy

from forecast.config.reading import Config
from forecast.networks.cells.base import Namespace
from forecast.networks.heads.distributions import Distribution

Constants = Mapping[str, np.ndarray]
"""What a head learnt from the train rows without a gradient: arrays (H, O) or (H, O, ...) by name.
"""

MIN_SCALE_SHARE = 0.01
"""The smallest scale or gap between quantiles, as a share of the train residuals' spread."""

MIN_SPREAD = 1e-6
"""Scaled units: stands for the spread of residuals that have none."""


class Head(Config):
    """The options of one kind of head and its equations; `configs/models.yaml` names it as `head:
    <kind>` or `head: {kind: ..., ...}`.

    A kind of head overrides `parameters`, `fit` and `loss`, and of the rest what differs:
    `distribution` where it has one, `target` and `offset` where the loss compares with something
    else than the residual, `point` where no parameter is the location.
    """

    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]

    has_constants: ClassVar[bool] = True
    """False: nothing is fitted on the train rows, and `loss:` of the entry trains it."""
    compares_with_last: ClassVar[bool] = False
    """True: it forecasts whether a value lies above the last observed one, which a target that is
    modelled by its changes does not have.
    """
    uses_lead: ClassVar[bool] = False
    """True: what the head learns depends on the lead, and not on the residual alone."""
    has_density: ClassVar[bool] = False
    """True: the density is what the head learns, so a log score judges the forecast; False: it
    only joins quantiles.
    """
    has_distribution: ClassVar[bool] = True
    """True: `distribution` gives quantiles, probabilities and samples."""

    kind: str

    @property
    def parameters(self) -> int:
        """K."""
        raise NotImplementedError

    @property
    def location_parameter(self) -> int | None:
        """Which raw parameter is the location beside the skip, for an encoder-decoder to feed back;
        None: none is.
        """
        return 0

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The constants, from the train rows: both (N, H, O), NaN where a target is missing."""
        raise NotImplementedError

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """What the loss compares with, (N, H, O); NaN where no loss is taken."""
        return residual

    def offset(self, lead: np.ndarray, constants: Constants) -> np.ndarray | None:
        """(N, H, O) added to the first raw parameter: the skip's share of the forecast;
        None: nothing.
        """
        return None

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """(..., H, O): the loss of each value, from raw (..., H, O, K), the offset already in it,
        and what `target` gives (..., H, O), which is not the series' own value.
        """
        raise NotImplementedError

    def distribution(self, raw: np.ndarray, base: np.ndarray, constants: Constants) -> Distribution:
        """The distribution of y in scaled units: raw (B, H, O, K), base (B, H, O) the skip's
        forecast.
        """
        raise NotImplementedError

    def point(
        self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """(B, H, O), the location, or the median of a head without one; last (B, 1, O)."""
        if self.location_parameter is not None:
            return base + raw[..., self.location_parameter]
        return self.distribution(raw, base, constants).ppf(np.full(base.shape, 0.5))

    def rise_probability(
        self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """(B, H, O): P(y > last); last (B, 1, O)."""
        return 1.0 - self.distribution(raw, base, constants).cdf(np.broadcast_to(last, base.shape))

    def sample(
        self,
        raw: np.ndarray,
        base: np.ndarray,
        last: np.ndarray,
        constants: Constants,
        u: np.ndarray,
    ) -> np.ndarray:
        """(B, H, O) in scaled units: the values that the probabilities u (B, H, O) in (0, 1) stand
        for. Who draws a sample draws u; base (B, H, O) is the skip's forecast, last (B, 1, O) for a
        head that needs it.
        """
        return self.distribution(raw, base, constants).ppf(u)


class Point(Head):
    """One number per value, added to the skip; trained by `loss:` (`networks.losses`)."""

    summary: ClassVar[str] = "One number, no distribution."
    equation: ClassVar[str] = "y = skip + p"
    source: ClassVar[str] = "Huber 1964 for the default loss"
    has_constants: ClassVar[bool] = False
    has_distribution: ClassVar[bool] = False
    parameters: ClassVar[int] = 1

    kind: Literal["point"] = "point"


@dataclass(frozen=True)
class FittedHead:
    """A `Head` with the constants learnt from the train rows: what training, validation and
    forecasts use. `raw` is the network's own output without the offset; its methods are those of
    the head in float64.
    """

    head: Head
    constants: Constants

    @classmethod
    def fit(cls, head: Head, residual: np.ndarray, lead: np.ndarray) -> FittedHead:
        """The head fitted on every train origin: residual and lead (N, H, O), NaN where a target is
        missing.
        """
        return cls(head, head.fit(residual, lead))

    def target(self, residual: np.ndarray, lead: np.ndarray) -> np.ndarray:
        """What the loss compares with, (N, H, O); NaN where no loss is taken."""
        return self.head.target(residual, lead, self.constants)

    def offset(self, lead: np.ndarray) -> np.ndarray | None:
        """(N, H, O) added to the first raw parameter, or None."""
        return self.head.offset(lead, self.constants)

    def loss(self, xp: Maths, raw: Array, target: Array, offset: Array | None) -> Array:
        """(..., H, O) that the gradient lowers, from the network's output `raw` (..., H, O, K);
        `offset` (..., H, O) is what the head adds to the first parameter, None where it adds
        nothing.
        """
        shifted = raw if offset is None else raw + offset[..., None]
        return self.head.loss(xp, shifted, target, self.constants)

    def validation_losses(
        self, raw: np.ndarray, residual: np.ndarray, lead: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, H, O) the loss of every value, by NumPy in float64, and which of them are known.

        raw (B, H, O, K); residual = y - skip (B, H, O), NaN where y is missing; lead = skip - last
        value (B, H, O).
        """
        target = self.target(residual, lead)
        known = np.isfinite(target)
        raw = raw.astype(np.float64)
        losses = self.loss(numpy_maths, raw, np.where(known, target, 0.0), self.offset(lead))
        return losses, known

    def distribution(self, raw: np.ndarray, base: np.ndarray) -> Distribution:
        """The distribution of y: raw (B, H, O, K), base (B, H, O) the skip's forecast."""
        return self.head.distribution(raw.astype(np.float64), base, self.constants)

    def rise_probability(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(B, H, O): P(y > last); arguments as in `point`."""
        return self.head.rise_probability(raw.astype(np.float64), base, last, self.constants)

    def sample(
        self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, u: np.ndarray
    ) -> np.ndarray:
        """(B, H, O): the values that the probabilities u stand for; arguments as in `point`."""
        return self.head.sample(raw.astype(np.float64), base, last, self.constants, u)

    def point(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(B, H, O) in scaled units: raw (B, H, O, K), base (B, H, O) the skip's forecast, last (B,
        1, O).
        """
        return self.head.point(raw.astype(np.float64), base, last, self.constants)


def residual_spread(residual: np.ndarray) -> np.ndarray:
    """The root mean square (H, O) of what is known of the residuals (N, H, O), never zero:
    `MIN_SPREAD` at least.
    """
    known = np.isfinite(residual)
    count = np.maximum(known.sum(axis=0), 1)
    squares = np.square(np.where(known, residual, 0.0)).sum(axis=0)
    return np.maximum(np.sqrt(squares / count), MIN_SPREAD)


Array = Any
"""A NumPy array or a TensorFlow tensor."""


class Maths(Namespace):
    """The array functions that losses are written with: NumPy's form, in float64, for validation
    losses; `training.descent.TensorMaths` overrides all of it in TensorFlow.

    All functions keep the dtype of their arguments; an axis is always the last. It has what the
    losses of today's heads ask for; one that asks for more adds it here and there.
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
    """x with softplus(x) = y > 0: what to add to a raw parameter so that zero stands for y."""
    return float(np.log(np.expm1(y)))


UNIT = inverse_softplus(1.0 - MIN_SCALE_SHARE)


def positive_scale(xp: Maths, unit: np.ndarray, raw: Array) -> Array:
    """`unit` where the raw parameter is zero, and above its share `MIN_SCALE_SHARE` everywhere."""
    return xp.constant(unit) * (MIN_SCALE_SHARE + xp.softplus(raw + UNIT))
