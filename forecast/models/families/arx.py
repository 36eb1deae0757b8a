"""Family `arx`: one-step ridge ARX, iterated to the horizon on its own forecasts.

It is the linear skip of the recursive networks (narx, jordan) standing alone, so what they add to
it can be seen. Lags, inputs and penalty are chosen on validation (`forecast.models.choice`); inputs
that are known only up to the cutoff are carried on by `forecast.models.skip.Carry`.

`Spec` (a `LinearSpec`) has no code of its own; its flag `is_recursive` says what is fitted.
"""

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    """Options of an entry of this family: the fitted skip is the model."""

    is_recursive = True
    summary = "One-step ridge ARX fed with its own forecasts: the skip of the recursive networks."
    equation = "y[t+1] - y[t] = b' [y[t-k] - y[t], x[t-k], f[t+1]] + b_0, iterated"
    source = "Ljung 1999, System Identification, 4.2; Hoerl & Kennard 1970"
