"""Models in service: champions, their forecasts, retraining, scheduling and status.

    champion, registry    the local store of model versions; the same together with MLflow
    predicting            the champion's forecast
    live_accuracy         issued forecasts and their scores
    retrain               a gated retraining. Its parts: worktree (a checkout of its own),
                          challenger (fetch, tune, train), evidence (losses, drift, whether one
                          is due), gate (the test), pending (carrying a decision out), refit (a
                          recipe fitted again), hooks (notifications)
    schedule              starts commands at set times
    status, repair        faults, and what `forecast doctor --repair` does about them
    repro                 runs DVC, or the stages of a few models, as child processes
    records               the file formats of all of these but evidence's `Ledger`

Modules that a forecast needs import neither TensorFlow nor MLflow.
"""
