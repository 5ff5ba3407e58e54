"""Dagster: the items as an asset, brought up to date every five minutes.

On 75 it is tried again, on 1 it asks for a person. The key is the one that dagster-dbt gives the
table in ../dbt, so that models on top of it follow.
"""

import json
import subprocess

from dagster import (
    Backoff,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

TEMPORARY = 75  # rows wait for another attempt, or the database is away


@asset(
    key_prefix="pipeline",
    deps=[["pipeline", "source_items"]],
    retry_policy=RetryPolicy(max_retries=6, delay=60, backoff=Backoff.EXPONENTIAL),
)
def multimodal_items() -> MaterializeResult:
    """A unit vector for every source item; overlapping runs share the rows."""
    command = ["pipeline", "--log-format", "json", "ingest", "--once", "--json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode == TEMPORARY:
        raise Failure("some rows wait for another attempt")
    if run.returncode != 0:
        raise Failure("rows failed for good: see `pipeline failures`", allow_retries=False)
    report = json.loads(run.stdout)
    return MaterializeResult(metadata={name: report[name] for name in ("space", "done", "items")})


ingest = define_asset_job("ingest", selection=[multimodal_items])
definitions = Definitions(
    assets=[multimodal_items],
    jobs=[ingest],
    schedules=[ScheduleDefinition(job=ingest, cron_schedule="*/5 * * * *")],
)
