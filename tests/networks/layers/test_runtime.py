"""How TensorFlow is set up: in processes of their own, because it is set up once per process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from tests.support import small_project, warm_interpreter

PROGRAM = """
import warnings
warnings.simplefilter("error")
import forecast.training.descent, forecast.training.gradient
from forecast.networks.layers.assemble import assemble
from forecast.networks.description import Network, Recurrent, Shapes
import tensorflow as tf
network = Network((Recurrent("a", "lstm", 2),), Shapes(1, 0, 1, 1, 3))
assemble(network, seed=0)({"past": tf.zeros([1, 3, 1])})
import importlib.util, sys
gone = lambda name: name in sys.modules or not importlib.util.find_spec(name)
print([name for name in ("matplotlib", "sklearn") if gone(name)])
threading = tf.config.threading
print(
    threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()
)
"""
FIRST_LOOK = """
import os, sys, warnings
warnings.simplefilter("error")
class Look:
    def find_spec(self, name, path=None, target=None):
        if name in ("keras", "tensorflow"):
            print({key: text for key, text in os.environ.items() if key.startswith("TF_")})
            sys.exit()
sys.meta_path.insert(0, Look())
import forecast.MODULE
"""
ADVICE = "Import forecast.networks.layers before TensorFlow and Keras."


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_program_that_uses_a_network_prints_nothing_but_its_own_words() -> None:
    """Not that oneDNN is on, which would train to other last digits. Nor does it load what Keras
    imports for its own plots; that can still be imported afterwards.
    """
    done = run(PROGRAM)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n1 1\n", "", 0)


@pytest.mark.parametrize("module", ["networks.layers", "training.gradient", "training.descent"])
def test_whatever_comes_first_tensorflow_is_looked_for_when_it_has_been_told(module: str) -> None:
    """What it is told is read at its import alone; the import ends there, which takes seconds."""
    done = run(FIRST_LOOK.replace("MODULE", module))
    printed = "{'TF_CPP_MIN_LOG_LEVEL': '3', 'TF_ENABLE_ONEDNN_OPTS': '0'}\n"
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


def test_threads_cannot_change_once_tensors_exist() -> None:
    # the server's process has a TensorFlow without oneDNN, whose import takes three CPU seconds
    code = "import tensorflow; tensorflow.zeros([1]); import forecast.training.gradient"
    command = [warm_interpreter.warm_python(), "-c", code]
    done = warm_interpreter.run(command, cwd=small_project.ROOT, env=small_project.environment())
    assert ADVICE in done.stderr
    assert (done.returncode, done.stderr.count("RuntimeWarning")) == (0, 1)


def test_onednn_cannot_change_once_tensorflow_is_imported() -> None:
    done = run("import keras, forecast.training.gradient")
    warned = ADVICE in done.stderr
    # a processor without VNNI, or another system, has it switched off
    assert warned == ("oneDNN custom operations are on" in done.stderr)
    assert (done.returncode, done.stderr.count("RuntimeWarning")) == (0, int(warned))


def test_this_process_trains_as_a_worker_does() -> None:
    threading = tf.config.threading
    assert threading.get_intra_op_parallelism_threads() == 1
    assert threading.get_inter_op_parallelism_threads() == 1
    assert not _pywrap_util_port.IsMklEnabled()
