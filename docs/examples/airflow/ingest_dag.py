"""Airflow (3): embed what is due, every five minutes; try again on 75, ask for a person on 1."""

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import dag, task

TEMPORARY = 75  # rows wait for another attempt, or the database is away


@dag(
    schedule="*/5 * * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=2,
)
def pipeline_ingest():
    @task(retries=6, retry_delay=timedelta(minutes=1), retry_exponential_backoff=True)
    def ingest():
        run = subprocess.run(["pipeline", "--log-format", "json", "ingest", "--once"])
        if run.returncode == TEMPORARY:
            raise AirflowException("some rows wait for another attempt")
        if run.returncode != 0:
            raise AirflowFailException("rows failed for good: see `pipeline failures`")

    ingest()


pipeline_ingest()
