"""NARX nets with one hidden layer: numerics, least-squares problems, and the automatic
identification procedure.
"""
