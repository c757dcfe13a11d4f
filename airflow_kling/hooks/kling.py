"""KlingHook: Kling's task API for Airflow, synchronous and asynchronous, over one connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import requests
from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowException, BaseHook
from airflow.providers.http.hooks.http import HttpHook

from airflow_kling.api.auth import TokenSource
from airflow_kling.api.calls import PROBE_TASK_ID
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.inputs import shown
from airflow_kling.exceptions import KlingError, error_from_end, errors_for
from airflow_kling.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_kling.hooks.client import AsyncClient, BearerAuth, SyncClient, make_session, shared_session
from airflow_kling.hooks.options import account_from_connection, options_from_extra
from airflow_kling.hooks.storage import fetcher, storage_path
from airflow_kling.lifecycle.collect import DEFAULT_NAME, collect, manifest, store_manifest, summary
from airflow_kling.lifecycle.wait import Outcome

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.gateways import Account
    from airflow_kling.api.models import Task
    from airflow_kling.hooks.options import TransportOptions
    from airflow_kling.lifecycle.collect import Edit, Fetch
    from airflow_kling.lifecycle.end import End

#: In Airflow 3.0 threads of a worker that ask for connections at once take each other's answers.
_READING = threading.Lock()

#: Readings under way, for an event loop alone keeps no task alive.
_UNDER_WAY: set[asyncio.Task[tuple[Any, dict[str, Any]]]] = set()


def _has_read(reading: asyncio.Task[tuple[Any, dict[str, Any]]]) -> None:
    """Forget it; an error that nobody waited for is taken note of, or the loop would log it with all that it says."""
    _UNDER_WAY.discard(reading)
    if not reading.cancelled():
        reading.exception()


class KlingHook(HttpHook):
    """
    Submit and query Kling's asynchronous tasks, through CometAPI or Kling's own API.

    Of the http provider's hook it keeps the place in Airflow, not the session: that one would send a login and
    password as ``Basic`` and the connection's extras as headers.

    :param kling_conn_id: Connection of type ``kling``: password = API key; or login = AccessKey and password =
        SecretKey. Host, schema and port give the base URL; the extra ``gateway`` says whose it is.
    """

    conn_name_attr = "kling_conn_id"
    default_conn_name = "kling_default"
    conn_type = "kling"
    hook_name = "Kling"

    def __init__(self, kling_conn_id: str = default_conn_name) -> None:
        super().__init__(method="POST", http_conn_id=kling_conn_id)
        self.kling_conn_id = kling_conn_id

    # -- the connection ------------------------------------------------------------------------------------------

    @cached_property
    def _connection(self) -> tuple[Any, dict[str, Any]]:
        with _READING:
            connection = self.get_connection(self.kling_conn_id)
        return connection, connection.extra_dejson

    @cached_property
    def account(self) -> Account:
        """
        Where requests go, and in whose name.

        :raises KlingInputError: for a connection without a key, of an unknown gateway or of another type.
        """
        return account_from_connection(*self._connection)

    @cached_property
    def _options(self) -> TransportOptions:
        return options_from_extra(self._connection[1])

    @cached_property
    def _tokens(self) -> TokenSource:
        return TokenSource(self.account.credentials)

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> requests.Session:
        """
        Return a session that carries the bearer token and nothing else of the connection.

        :param headers: Not taken: no header but ours ever leaves.
        :param extra_options: Not taken: the connection's extras hold the options.
        """
        if headers or extra_options:
            raise ValueError("KlingHook sends no other headers and takes its options from the connection alone")
        self.base_url = self.account.base_url
        self._base_url_initialized = True
        return make_session(BearerAuth(self._tokens, self.account.base_url), self._options)

    def run(self, *arguments: Any, **options: Any) -> NoReturn:
        """Not offered: the http provider's requests follow redirects and log whole answers."""
        raise NotImplementedError("use submit, get_task and list_tasks")

    run_with_advanced_retry = run

    @cached_property
    def client(self) -> SyncClient:
        """The transport below this hook; raises ApiFault where the hook raises KlingError."""
        return self.new_client()

    def new_client(self) -> SyncClient:
        """Return another such transport, with a session of its own: one for each thread."""
        return SyncClient(self.account, self.get_conn(), self._tokens, self._options)

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AsyncClient]:
        """Give the asynchronous transport, over the session that this event loop shares for the connection."""
        connection, extra = await self._aconnection()
        account = account_from_connection(connection, extra)
        options = options_from_extra(extra)
        async with shared_session(self.kling_conn_id, options) as session:
            yield AsyncClient(account, session, TokenSource(account.credentials), options)

    async def _aconnection(self) -> tuple[Any, dict[str, Any]]:
        """Read the connection, to its end even if given up: Airflow 3.0 and 3.1 take its answer for the next one."""

        async def read() -> tuple[Any, dict[str, Any]]:
            connection = await get_async_connection(self.kling_conn_id, BaseHook)
            return connection, await get_async_extra_dejson(connection)

        reading = asyncio.create_task(read())
        _UNDER_WAY.add(reading)
        reading.add_done_callback(_has_read)
        return await asyncio.shield(reading)

    @cached_property
    def fetch(self) -> Fetch:
        """What gives the bytes behind a URL, without the key; private addresses only where the connection allows."""
        return fetcher(self._options, allow_private_hosts=self.account.allow_private_hosts)

    # -- tasks ---------------------------------------------------------------------------------------------------

    def submit(self, request: TaskRequest) -> Task:
        """
        Create a task. It bills, and cannot be cancelled.

        :param request: A checked request, e.g. :class:`~airflow_kling.api.models.ExpandRequest`.
        :raises KlingInputError: for a request or a connection that Kling would refuse, or has refused.
        :raises KlingError: of the class that the answer's code asks for.
        """
        with errors_for("submit"):
            return self.client.submit(request)

    def get_task(self, task_id: str, family: str = IMAGE_EXPANSION) -> Task:
        """
        Return a task. Costs nothing.

        :param task_id: Kling's id, or the external id where the gateway looks those up.
        :param family: Name of the task's family.
        :raises KlingTaskFailed: where the account knows no such task.
        :raises KlingError: of the class that the answer's code asks for.
        """
        with errors_for(f"task {shown(task_id)}"):
            return self.client.get_task(task_id, family)

    def list_tasks(self, family: str = IMAGE_EXPANSION, page: int = 1, page_size: int = 30) -> list[Task]:
        """
        Return a page of the account's tasks, newest first. Costs nothing.

        :param family: Name of the family.
        :param page: From 1 to 1,000.
        :param page_size: From 1 to 500.
        :raises KlingError: of the class that the answer's code asks for.
        """
        with errors_for(f"list of {family}"):
            return self.client.list_tasks(family, page, page_size)

    def collect(
        self,
        task: Task,
        output_path: str | None = None,
        *,
        output_name: str | None = None,
        include_urls: bool = False,
        edit: Edit | None = None,
        earlier: Sequence[Task] = (),
        borders: Mapping[int, Sequence[float]] | None = None,
    ) -> dict[str, Any]:
        """
        Store what a task made and its manifest beside it; returns the manifest.

        :param task: A task that succeeded.
        :param output_path: Folder or prefix; without one nothing is stored.
        :param output_name: What files are called, without their ending: a text with ``{task_id}`` and ``{index}``.
        :param include_urls: Whether the manifest holds the signed links.
        :param edit: Is shown every whole download before it is stored, and may have other bytes stored instead.
        :param earlier: The tasks of the passes before it.
        :param borders: See :func:`airflow_kling.lifecycle.collect.manifest`; asked once all is stored.
        :raises KlingError: where a result cannot be downloaded, or is not what it should be.
        """
        directory, name = storage_path(output_path) if output_path else None, output_name or DEFAULT_NAME
        stored = None
        if directory is not None:
            with errors_for(f"task {task.task_id}"):
                stored = collect(
                    task,
                    directory,
                    self.fetch,
                    renew=lambda: self.client.get_task(task.task_id, task.family),
                    name=name,
                    edit=edit,
                )
        conn_id = self.kling_conn_id
        made = manifest(task, conn_id, stored, include_urls=include_urls, earlier=earlier, borders=borders)
        if directory is not None:
            store_manifest(made, directory, name, task.task_id)
        how = "collected" if directory is not None else "has ended"
        self.log.info("Kling task %s %s: %s", task.task_id, how, summary(task, output_path or None))
        return made

    def succeeded(self, end: End, timeout: float) -> Task:
        """
        Return a task whose wait ended in success, or raise what happened instead.

        :param end: How the wait ended.
        :param timeout: Seconds that the wait was allowed.
        :raises KlingTaskFailed: where the task failed.
        :raises KlingTaskTimeout: where it had not ended in time; it goes on.
        :raises KlingError: where it could not be watched any longer.
        """
        if end.outcome is not Outcome.SUCCEEDED:
            raise error_from_end(end, timeout)
        return self.get_task(end.task_id, end.family)

    async def asubmit(self, request: TaskRequest) -> Task:
        """
        Create a task, as :meth:`submit`; never from a trigger, which Airflow may run twice.

        :param request: A checked request.
        :raises KlingError: as there.
        """
        with errors_for("submit"):
            async with self.async_client() as client:
                return await client.submit(request)

    async def aget_task(self, task_id: str, family: str = IMAGE_EXPANSION) -> Task:
        """
        Return a task, as :meth:`get_task`.

        :param task_id: Kling's id, or the external id where the gateway looks those up.
        :param family: Name of the task's family.
        :raises KlingError: as there.
        """
        with errors_for(f"task {shown(task_id)}"):
            async with self.async_client() as client:
                return await client.get_task(task_id, family)

    async def alist_tasks(self, family: str = IMAGE_EXPANSION, page: int = 1, page_size: int = 30) -> list[Task]:
        """
        Return a page of tasks, as :meth:`list_tasks`.

        :param family: Name of the family.
        :param page: From 1 to 1,000.
        :param page_size: From 1 to 500.
        :raises KlingError: as there.
        """
        with errors_for(f"list of {family}"):
            async with self.async_client() as client:
                return await client.list_tasks(family, page, page_size)

    # -- the connection form -------------------------------------------------------------------------------------

    def test_connection(self) -> tuple[bool, str]:
        """
        Ask for a task that does not exist: free, and it tells a wrong key, a missing route and a dead network apart.
        """
        try:
            self.client.get_task(PROBE_TASK_ID, resend=False)
        except ApiFault as fault:
            if fault.info.kind is not FaultKind.NOT_FOUND:
                return False, f"{_VERDICTS.get(fault.info.kind, 'Kling answered with an error')}: {fault}"
        except (KlingError, AirflowException, ValueError) as error:
            return False, f"Not tested: {error}"
        account = self.account
        gateway = f"gateway {account.gateway}"
        return True, f"{account.base_url} knows the key and has the image-expansion route ({gateway})"

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields, for Airflow before 3.2; later ones read the provider's metadata."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import BooleanField, StringField

        def field(row: dict[str, Any]) -> Any:
            label, description = lazy_gettext(row["label"]), row["description"]
            if row["schema"]["type"] == "boolean":
                return BooleanField(label, description=description, default=False)
            return StringField(label, description=description, widget=BS3TextFieldWidget())

        return {name: field(row) for name, row in CONNECTION_FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the form hides, renames and shows as examples, for Airflow before 3.2."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}


_VERDICTS = {
    FaultKind.AUTH: "Wrong key",
    FaultKind.ACCOUNT: "The key is accepted, but the account may not be used",
    FaultKind.ROUTE: "The key was not refused, but the route is missing",
    FaultKind.CONNECTION: "Not reached, the network or the host is wrong",
    FaultKind.SERVER: "The server fails",
    FaultKind.RATE: "The server asks to wait",
}
