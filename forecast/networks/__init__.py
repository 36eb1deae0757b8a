"""Networks: their description as data, and everything that runs it in Keras and NumPy.

    description, visitor    a network as data, and the walk over its blocks
    weights                 names, shapes and first values of its weights
    cells                   the equation of a step of each recurrent cell
    heads, losses           point forecasts and distributions, and their losses
    layers                  Keras models of a description, on TensorFlow
    inference               the same forecasts in NumPy; row by row; export as a Python file
    native                  machine code for the commonest cells

The families (`forecast.models.families`) write descriptions; `forecast.training` trains them,
`forecast.forecaster` and `forecast.identification` run them. TensorFlow is imported by `layers`
alone, and nothing here reads data or knows a task.
"""

import numpy as np

# After glibc has freed a block of this size it keeps freed memory instead of returning it to the
# system, which saves a sixth of the time of a training step and of a forecast.
np.empty(2**25 - 2**16, np.uint8)
