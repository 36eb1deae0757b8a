"""One description of a network, and what runs it: cells, heads, Keras layers, NumPy inference."""

import numpy as np

# once it freed one so large glibc keeps what is freed: a sixth of a step and a pass
np.empty(2**25 - 2**16, np.uint8)
