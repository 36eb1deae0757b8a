"""Family `rectify`: the mixed strategy in closed form, a one-step ridge iterated over the horizon,
and a direct ridge fitted to what it leaves of each step.

Both are linear maps of `forecast.models.skip`, chosen and fitted by `forecast.forecaster.fitting`;
here are only the options and the description.

`Spec` (a `LinearSpec`) has no code of its own; its flag `is_corrected` says what is fitted.
"""

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    """Options of an entry of this family: the fitted skip is the model."""

    is_corrected = True
    summary = (
        "One-step ridge ARX fed with its own forecasts, each step of the horizon corrected"
        " directly."
    )
    equation = "y[t+h] = arx[t+h] + C_h' [y[t-k] - y[t], x[t-k], f[t+1..t+H]] + c_h"
    source = "Ben Taieb & Hyndman 2012, RECTIFY"
