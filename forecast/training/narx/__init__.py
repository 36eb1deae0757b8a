"""NARX nets with one hidden layer: numerics, least-squares problems, and the automatic identification procedure."""

from forecast.training.narx.experiment import Experiment, Standardization
from forecast.training.narx.net import Narx
from forecast.training.narx.problems import ClosedLoop, OpenLoop

__all__ = ["ClosedLoop", "Experiment", "Narx", "OpenLoop", "Standardization"]
