"""Load a tap into Segment every night, with a task for each group of streams."""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

GROUPS = ["accounts", "orders"]  # a folder each, with the catalog.json of its streams

with DAG(
    "load_segment",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
):
    BashOperator.partial(
        task_id="load",
        bash_command='{{ var.value.segment_loads }}/load.sh "{{ var.value.segment_loads }}/$GROUP"',
        append_env=True,
        pool="segment",  # for all loads with the same write key
        pool_slots=4,  # max_parallel_sessions in config.json
        retries=2,
        retry_delay=timedelta(minutes=5),
    ).expand(
        env=[
            {
                "GROUP": group,
                "LOG": "-",
                "TAP": "tap-x --config ../tap.json --catalog catalog.json",
                "TARGET": "target-segment-objects --config ../config.json",
            }
            for group in GROUPS
        ]
    )
