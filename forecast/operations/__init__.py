"""From experiment to operation: the champion of each dataset, its forecasts, and what is known
about them.

    registry, champion    versions and aliases: in MLflow and here together; what is stored here
    predicting, live_accuracy    the champion's forecast; issued forecasts and their scores
    retrain               a gated retraining, with its parts: worktree (where), challenger (the
                          steps), evidence (numbers), gate (the test), decision (what follows),
                          refit (a recipe fitted again)
    schedule              commands at their times
    status, repair        what is wrong, and what `forecast doctor --repair` mends
    repro                 DVC as a child process
    records               what all of these write down

Besides `cli` the only layer that may know the clock, the environment and the terminal. Modules that
a forecast needs import neither TensorFlow nor MLflow.
"""
