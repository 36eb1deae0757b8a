"""From experiment to operation: the champion of each dataset, its forecasts, and what is known
about them.

Besides `cli` the only layer that may know the clock, the environment and the terminal. Modules that
a forecast needs import neither TensorFlow nor MLflow.
"""
