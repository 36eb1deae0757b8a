"""The only door to MLflow: stages write records, this package publishes them idempotently.

    sync                       publish the records of a project: runs, metrics, models
    read_candidate_runs        the records as a run shows them
    tracking_store             where runs are kept, from MLFLOW_TRACKING_URI
    model_registry, served     registered models and their aliases; the model that MLflow serves
    hold_store_lock            keeping several machines apart
    database_file              damage of a database file, and its paths after a copy

The records are the truth and MLflow is a view of them: a wiped database, a new URI or a restored
run cache is healed by `sync`. Only the parent process calls this.
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
