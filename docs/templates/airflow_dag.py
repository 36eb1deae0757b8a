"""Airflow: into its dags folder. The worker needs the clone in ~/forecast, after `make setup`."""

from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

RETRAIN = "cd ~/forecast && .venv/bin/forecast retrain weather"

with DAG("forecast_weather", schedule="30 5 * * *", start_date=datetime(2026, 1, 1), catchup=False):
    # 4: the gate keeps the champion; 75: a retraining runs already. Neither is a fault.
    BashOperator(task_id="retrain", bash_command=RETRAIN, skip_on_exit_code=[4, 75])
