"""Machine code by numba for the commonest recurrent cells, and the private doors that it needs.

door        what is used of numba and TensorFlow beyond their public interfaces
recurrence  all steps of a training batch and their gradients, as operations of TensorFlow

docs/native-kernels.md says why, and what happens where one of them cannot be loaded. The import
raises ImportError where the user switched native kernels off by `FORECAST_NATIVE_KERNELS=0`.
"""

import os

SWITCH = "FORECAST_NATIVE_KERNELS"
"""The environment variable that, set to 0, switches native kernels off."""

if os.environ.get(SWITCH) == "0":
    raise ImportError(f"Native kernels are switched off by {SWITCH}=0.")
