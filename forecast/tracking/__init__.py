"""MLflow: publishing a project's records as runs, and the model registry. The only package that
imports MLflow.

    sync                       publishes the records of a project: runs, metrics, models
    read_candidate_runs        the records, with their rows of the leaderboard
    tracking_store             where runs are kept, from MLFLOW_TRACKING_URI
    model_registry, served     registered models and their aliases; the model that MLflow serves
    hold_store_lock            a lock among all machines that use one store
    database_file              damage of a database file, and its paths after a copy

Names in MLflow: a dataset's experiment and registered model have its name (`publishing`,
`model_registry`), the decisions on it are in the experiment `<dataset> retraining`
(`operations.pending`), and each entry of configs/experiments.yaml has an experiment of its own
(`cli.identify`). Every experiment passes through `mlflow_client.ensure_experiment`; a registered
model is named in every call of `model_registry`. `operations.registry` and `operations.retrain`
name the locks of the store. Two projects on one server need datasets of different names:
experiments are shared, with the description of the first to publish there, and a registered model
is refused to the second (`RegisteredModel.require_owner`).

The stages' records are the source, and MLflow shows a copy of them: after the database was lost or
another address was set, `sync` publishes everything again. Worker processes never call MLflow.
"""

from forecast.tracking.publishing import SyncResult, sync
from forecast.tracking.runs import CandidateRun, list_datasets, read_candidate_runs
from forecast.tracking.stores import TrackingStore, hold_store_lock, tracking_store

__all__ = [
    "CandidateRun",
    "SyncResult",
    "TrackingStore",
    "hold_store_lock",
    "list_datasets",
    "read_candidate_runs",
    "sync",
    "tracking_store",
]
