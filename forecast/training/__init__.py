"""Training of networks; TensorFlow is imported by its modules, never by this package.

    chunks                   what a training is given and what it returns
    gradient, descent        gradient steps, in TensorFlow
    levenberg_marquardt      damped least squares for any `LeastSquares` problem, in NumPy
    network_problem, forward_mode, one_layer    a network as such a problem, with exact derivatives

For `forecast.forecaster.trainers` and `forecast.identification`, which prepare series and judge
weights; nothing here reads a file or knows a task.
"""
