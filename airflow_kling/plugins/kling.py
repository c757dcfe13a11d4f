"""KlingPlugin: the run page in Airflow's UI and the callbacks' route, from Airflow 3.1 on; nothing before."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

log = logging.getLogger(__name__)

URL_PREFIX = "/kling"
RUNS_ROUTE = "kling"
RUN_ROUTE = "kling-run"


class KlingPlugin(AirflowPlugin):
    """
    Adds "Kling" to Airflow's navigation and to each DAG run.

    Every process of Airflow loads the plugin; only the API server asks for the application, and so loads it. Airflow
    2.11 asks for nothing here.
    """

    name = "kling"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The applications of the callbacks and the pages; none where this Airflow lacks what they are made of."""
        try:
            from airflow_kling.api.callback import ROUTE
            from airflow_kling.plugins.app import make_app
            from airflow_kling.plugins.callbacks import make_callbacks
        except ImportError:
            # The API server shows more than our page, and must start without it.
            log.exception("Kling's run page cannot be shown by this version of Airflow")
            return []
        # The first that begins like an address answers it.
        return [
            {"app": make_callbacks(), "url_prefix": ROUTE, "name": "Kling callbacks"},
            {"app": make_app(), "url_prefix": URL_PREFIX, "name": "Kling"},
        ]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:
        """The pages' places in the navigation."""
        # Airflow may be served below a path.
        base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + URL_PREFIX
        icons = {"icon": f"{base}/static/icon.svg", "icon_dark_mode": f"{base}/static/icon-dark.svg"}
        return [
            {
                "name": "Kling",
                "href": f"{base}/",
                "destination": "nav",
                "category": "browse",
                "url_route": RUNS_ROUTE,
                **icons,
            },
            {
                "name": "Kling",
                "href": f"{base}/dags/{{DAG_ID}}/runs/{{RUN_ID}}",
                "destination": "dag_run",
                "url_route": RUN_ROUTE,
                **icons,
            },
        ]
