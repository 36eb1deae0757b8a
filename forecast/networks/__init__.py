"""One description of a network, and what runs it: cells, heads, Keras layers, NumPy inference.

    description, visitor    a network as data, and the one walk over its blocks
    weights                 names, shapes and first values of its weights
    cells                   the equation of a step of each recurrent cell
    heads, losses           what stands on top: points and distributions, and what trains them
    layers                  Keras models of a description, on TensorFlow
    inference               the same forecasts in NumPy; rows one by one; a file of its own
    native                  machine code for the commonest cells

The families (`forecast.models.families`) write descriptions; `forecast.training` trains them,
`forecast.forecaster` and `forecast.identification` run them. TensorFlow is imported by `layers`
alone, and nothing here knows data, tasks or skips.
"""

import numpy as np

# once it freed one so large glibc keeps what is freed: a sixth of a step and a pass
np.empty(2**25 - 2**16, np.uint8)
