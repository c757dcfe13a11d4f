"""Links beside a task in Airflow's UI: the remote task's address, and where its files lie; never a signed URL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_kling.airflow_version import AIRFLOW

if TYPE_CHECKING:
    from airflow_kling.api.gateways import Account

log = logging.getLogger(__name__)

#: The web page of a bucket's folder, by the storage URI's scheme. Azure's needs a subscription that no URI names.
_CONSOLES = {
    "s3": "https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={prefix}",
    "s3a": "https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={prefix}",
    "gs": "https://console.cloud.google.com/storage/browser/{bucket}/{prefix}",
    "gcs": "https://console.cloud.google.com/storage/browser/{bucket}/{prefix}",
}


class _PushedLink(BaseOperatorLink):
    """A link that the worker pushed: Airflow 3 shows that XCom as it stands, 2.11's webserver asks here."""

    xcom_key: str

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the link, empty where there is none (yet).

        Airflow 3 calls this in the worker too, at the end of each of the task's processes, and stores the answer in
        place of what was pushed.

        :param operator: Not needed.
        :param ti_key: The task instance.
        """
        from airflow.providers.common.compat.sdk import XCom

        try:
            link = XCom.get_value(ti_key=ti_key, key=self.xcom_key)
        except Exception as error:
            log.debug("The link %r cannot be read: %s", self.name, type(error).__name__)
            return ""
        return link if isinstance(link, str) else ""


class KlingTaskLink(_PushedLink):
    """
    The remote task's address in the API, which ends with its id.

    Neither gateway documents a page of its console for one task. This address is documented, the same for every
    gateway, and says all that is known of the task to who sends the account's key along.
    """

    name = "Kling task (API address, asks for the key)"
    xcom_key = "_link_KlingTaskLink"


class KlingFilesLink(_PushedLink):
    """The folder of the results in the console of its storage: Amazon S3 and Google Cloud Storage."""

    name = "Stored files"
    xcom_key = "_link_KlingFilesLink"


class KlingRunLink(_PushedLink):
    """The task's pictures and clips on the run page of our plugin, in Airflow's own UI; none before Airflow 3.1."""

    name = "Kling run page"
    xcom_key = "_link_KlingRunLink"


LINKS = (KlingTaskLink(), KlingFilesLink(), KlingRunLink())


def push_links(
    context: Mapping[str, Any], task_id: str, family: str, account: Callable[[], Account], output_path: str | None
) -> None:
    """
    Push the links as soon as the remote task is known: they show while it runs, and whatever becomes of it.

    Raises nothing: what hinders a link hinders the task too, which says so better.

    :param context: Airflow's context.
    :param task_id: Kling's id of the task.
    :param family: Name of its family.
    :param account: Gives the account that knows it: reading its connection may fail.
    :param output_path: Folder or prefix for the results.
    """
    _push_links(context, output_path, lambda: _task_address(task_id, family, account()))


def push_batch_links(context: Mapping[str, Any], output_path: str | None) -> None:
    """
    Push the links of a batch, which has no single remote task, as :func:`push_links`.

    :param context: Airflow's context.
    :param output_path: Folder or prefix for the results.
    """
    _push_links(context, output_path, lambda: "")


def _push_links(context: Mapping[str, Any], output_path: str | None, task_address: Callable[[], str]) -> None:
    links: dict[str, Callable[[], str]] = {
        KlingTaskLink.xcom_key: task_address,
        KlingFilesLink.xcom_key: lambda: _folder_page(output_path),
        KlingRunLink.xcom_key: lambda: run_page(context["ti"]),
    }
    for key, link_of in links.items():
        try:
            link = link_of()
        except Exception as error:
            log.debug("No %s: %s", key, type(error).__name__)
            link = ""
        # An empty one, too: Airflow logs an error where it looks for a link that was never pushed.
        with suppress(Exception):
            context["ti"].xcom_push(key=key, value=link)


def run_page(ti: Any) -> str:
    """
    Return the address of a task instance on the run page, empty before Airflow 3.1, which has no place for it.

    :param ti: The task instance.
    """
    from airflow.providers.common.compat.sdk import conf

    if AIRFLOW < (3, 1):
        return ""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    run = f"{base}/dags/{quote(ti.dag_id, safe='')}/runs/{quote(ti.run_id, safe=':+')}"
    return f"{run}/plugin/kling-run?task_id={quote(ti.task_id, safe='')}&map_index={ti.map_index}"


def console_page(output_path: str) -> str:
    """
    Return the web page of a storage folder, empty where its scheme has none; without connection, query and fragment.

    :param output_path: A path or a storage URI.
    """
    scheme, _, rest = output_path.partition("://")
    page = _CONSOLES.get(scheme.lower()) if rest else None
    place = rest.partition("?")[0].partition("#")[0]
    authority, _, folder = place.partition("/")
    bucket = authority.rpartition("@")[2]
    if page is None or not bucket:
        return ""
    prefix = folder.strip("/")
    return page.format(bucket=quote(bucket, safe=""), prefix=quote(f"{prefix}/" if prefix else "", safe="/"))


def _task_address(task_id: str, family: str, account: Account) -> str:
    from airflow_kling.api.calls import query_call

    return query_call(account, family, task_id).url


def _folder_page(output_path: str | None) -> str:
    page = console_page(output_path) if output_path else ""
    return page if page and not _has_own_endpoint(str(output_path)) else ""


def _has_own_endpoint(output_path: str) -> bool:
    """Return whether a storage speaks S3's or Google's protocol at another place, of which their console knows none."""
    from airflow_kling.hooks.storage import storage_path

    options = storage_path(output_path).fs.storage_options
    return bool(options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url"))
