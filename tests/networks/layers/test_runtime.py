"""How TensorFlow is set up: in processes of their own, because threads are set once per process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tensorflow as tf

from forecast.networks.layers import prepare_runtime

PROGRAM = """
import warnings
warnings.simplefilter("error")
from forecast.networks.layers import prepare_runtime
from forecast.networks.layers.assemble import assemble
from forecast.networks.description import Network, Recurrent, Shapes
prepare_runtime(threads=1)
prepare_runtime(threads=1)
import tensorflow as tf
network = Network((Recurrent("a", "lstm", 2),), Shapes(1, 0, 1, 1, 3))
assemble(network, seed=0)({"past": tf.zeros([1, 3, 1])})
prepare_runtime(threads=1)
import importlib.util, sys
gone = lambda name: name in sys.modules or not importlib.util.find_spec(name)
print([name for name in ("matplotlib", "sklearn") if gone(name)])
threading = tf.config.threading
print(
    threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()
)
"""


def test_program_that_uses_a_network_prints_nothing_but_its_own_words() -> None:
    """Nor does it load what Keras imports for its own plots; that can still be imported
    afterwards.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n1 1\n", "", 0)


def test_threads_cannot_change_once_tensors_exist() -> None:
    tf.zeros([1])
    with pytest.warns(RuntimeWarning, match="fit a model before other work with TensorFlow"):
        prepare_runtime(threads=7)
