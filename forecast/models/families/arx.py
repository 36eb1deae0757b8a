"""One-step ridge ARX, iterated to the horizon: the skip of the recursive families, standing alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    recursive: ClassVar[bool] = True
    summary: ClassVar[str] = "One-step ridge ARX fed with its own forecasts: the skip of the recursive networks."
    equation: ClassVar[str] = "y[t+1] - y[t] = b' [y[t-k] - y[t], x[t-k], f[t+1]] + b_0, iterated"
    source: ClassVar[str] = "Ljung 1999, System Identification, 4.2; Hoerl & Kennard 1970"

    family: Literal["arx"] = "arx"
