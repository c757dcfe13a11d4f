"""Runs when a clip appears: reads from the asset's events where it lies, and what it took to make it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task

CLIPS = Asset("kling://clips")
log = logging.getLogger(__name__)

with DAG(
    dag_id="kling_publish",
    description="Publish clips as soon as kling_expand_to_video has stored them",
    schedule=[CLIPS],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
):

    @task
    def publish(**context: Any) -> list[str]:
        # [START howto_asset_events]
        events = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
        published = []
        for asset_events in events.values():
            for event in asset_events:
                for file in event.extra.get("files", []):
                    log.info("%s: %d bytes, %s units", file["uri"], file["size_bytes"], event.extra["units"])
                    published.append(file["uri"])
        # [END howto_asset_events]
        return published

    publish()
