"""Machine code by numba for the commonest recurrent cells.

    private_interfaces    what is used of private interfaces of numba and TensorFlow
    recurrence            all steps of a training batch and their gradients, as operations of
                          TensorFlow

docs/native-kernels.md has the reasons, and what happens where they cannot be loaded. The import
raises ImportError where the user has set `FORECAST_NATIVE_KERNELS=0`.
"""

import os

SWITCH = "FORECAST_NATIVE_KERNELS"
"""The environment variable that, set to 0, switches native kernels off."""

if os.environ.get(SWITCH) == "0":
    raise ImportError(f"Native kernels are switched off by {SWITCH}=0.")
