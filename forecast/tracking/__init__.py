"""The only door to MLflow: stages write records, this package publishes them idempotently.

The records are the truth and MLflow is a view of them: a wiped database, a new URI or a restored
run cache is healed by `sync`. Only the parent process calls this.
"""

from forecast.tracking.publishing import SyncResult, sync
from forecast.tracking.runs import CandidateRun, read_candidate_runs
from forecast.tracking.tracking_store import TrackingStore, tracking_store

__all__ = [
    "CandidateRun",
    "SyncResult",
    "TrackingStore",
    "read_candidate_runs",
    "sync",
    "tracking_store",
]
