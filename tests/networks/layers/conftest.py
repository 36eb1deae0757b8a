"""TensorFlow as a training has it, before a test module imports it."""

import forecast.networks.layers  # noqa: F401
