"""KlingPlugin: the run page in Airflow's UI and the callbacks' route, from Airflow 3.1 on; nothing before."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
        """The applications of the callbacks and the pages, as far as this Airflow has what they are made of."""
        # The first that begins like an address answers it.
        return [app for make in (_callbacks, _pages) if (app := _made(make))]

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


def _made(make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return make()
    except ImportError:
        # The API server shows more than this, and must start without it.
        log.exception("A part of Kling's plugin is missing, for it does not fit this version of Airflow")
        return None


def _callbacks() -> dict[str, Any]:
    from airflow_kling.api.callback import ROUTE
    from airflow_kling.plugins.callbacks import make_callbacks

    return {"app": make_callbacks(), "url_prefix": ROUTE, "name": "Kling callbacks"}


def _pages() -> dict[str, Any]:
    from airflow_kling.plugins.app import make_app

    return {"app": make_app(), "url_prefix": URL_PREFIX, "name": "Kling"}
