"""Numerics of NARX nets with one hidden layer, and the automatic identification procedure."""
