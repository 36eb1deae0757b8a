"""The only door to MLflow: stages write records, this package publishes them idempotently.

The records are the truth and MLflow is a view of them: a wiped database, a new URI or a restored
run cache is healed by `sync`. Only the parent process calls this.
"""

from forecast.tracking.publishing import Published, sync
from forecast.tracking.runs import Record, read_records
from forecast.tracking.tracking_store import Place, place

__all__ = ["Place", "Published", "Record", "place", "read_records", "sync"]
