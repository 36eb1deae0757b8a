"""Train, compare, record and keep retraining classical and recurrent forecasters.

Importing this package imports neither TensorFlow, MLflow nor Optuna.
"""

__version__ = "0.1.0"
