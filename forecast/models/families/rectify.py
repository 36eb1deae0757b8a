"""Family `rectify`: the mixed strategy in closed form, a one-step ridge iterated over the horizon,
and a direct ridge fitted to what it leaves of each step.

Both are linear maps of `forecast.models.skip`, chosen and fitted by `forecast.forecaster.fitting`;
here are only the options and the description.

An entry of configs/models.yaml with this family is read as `Spec` (a `LinearSpec`); it has no code
of its own. It sees the rows of a window up to the cutoff and what is known ahead, and forecasts (B,
H, O) in scaled units. Another linear model is a file like this one whose flags (`is_recursive`,
`is_corrected`) name what is fitted.
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
