"""One-step ridge ARX, iterated to the horizon: the skip of the recursive families, standing
alone.
"""

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    """Options of an entry of this family: the fitted skip is the model."""

    is_recursive = True
    summary = "One-step ridge ARX fed with its own forecasts: the skip of the recursive networks."
    equation = "y[t+1] - y[t] = b' [y[t-k] - y[t], x[t-k], f[t+1]] + b_0, iterated"
    source = "Ljung 1999, System Identification, 4.2; Hoerl & Kennard 1970"
