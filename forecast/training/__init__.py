"""Training of networks; TensorFlow is imported by `gradient` and `descent` alone.

    chunks                   training series, chunks of them, and the trained network
    gradient, descent        gradient descent, in TensorFlow
    levenberg_marquardt      damped least squares for any `LeastSquares` problem, in NumPy
    network_problem, forward_mode, one_layer    a network as such a problem, with exact derivatives

Used by `forecast.forecaster` (`trainers`, `fitting`) and `forecast.identification`, which prepare
the series and validate the weights; nothing here reads a file or knows a task.
"""
