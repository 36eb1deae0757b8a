"""What MLflow's scoring server would answer without a word."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException

from forecast.tracking import mlflow_client

with mlflow_client.silence_warnings():  # MLflow's of its own types
    from forecast.tracking.served import decode_request


def test_a_parameter_of_another_name_or_no_sense_is_refused_and_not_dropped() -> None:
    """MLflow answered 200 as if it had not been given."""
    for given in ({"horizons": 3}, {"horizon": 3, "level": [80]}):
        content = {"inputs": {"y": [1.0]}, "params": given}
        with pytest.raises(MlflowException, match=r"Unknown in `params`: .* Known are `horizon`"):
            decode_request(dict, content)
    with pytest.raises(MlflowException, match="Horizon 0: wanted at least 1 step"):
        decode_request(dict, {"inputs": {"y": [1.0]}, "params": {"horizon": 0}})
    content = {"inputs": {"y": [1.0]}, "params": {"horizon": 3, "levels": [80]}}
    assert decode_request(dict, content) == content
