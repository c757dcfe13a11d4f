"""The operator that makes one task, without a family: what all of them take, and what each family adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_kling.api.checks import check_age, check_choice, check_seconds
from airflow_kling.api.inputs import InputFault
from airflow_kling.operators.life import AUTO, KlingTaskLife
from airflow_kling.operators.links import LINKS

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.source import Source
    from airflow_kling.lifecycle.submit import Submission, Submitted

NAME_LENGTH = 100
ON_EXISTING = ("reattach", "resubmit", "fail")


class KlingTaskBaseOperator(KlingTaskLife):
    """
    Create one remote task, once; wait for it and store its results.

    Returns the manifest (see :func:`airflow_kling.lifecycle.collect.manifest`); besides, XCom ``task_id`` and ``uris``.
    Assets among the ``outlets`` get an event with place, size and checksum of the files, task id and units in its
    extra; an alias gets an asset for each file.

    :param kling_conn_id: Connection of type ``kling``. (templated)
    :param fallback_conn_ids: Connections of type ``kling`` to try, in this order, where the one before lacks the route;
        never where a task may have been created.
    :param output_path: Folder or prefix for the results: a path, or a storage URI such as ``s3://conn@bucket/prefix``.
        Without one nothing is stored. (templated)
    :param output_name: What the files are called, without their ending: a text with ``{task_id}`` and ``{index}``, the
        remote task's id and the output's position. (templated)
    :param wait_for_completion: Whether to wait until the task ends. Otherwise the manifest of the submitted task is
        returned at once, for a ``KlingTaskSensor`` to watch.
    :param deferrable: Whether to wait in the triggerer and hold no worker; by default as ``[operators]
        default_deferrable`` says.
    :param poll_interval: Seconds between polls, above 0.
    :param timeout: Seconds of one wait, above 0; counted anew when a retry rejoins the task.
    :param submit_timeout: Seconds to wait for a free slot of the account, above 0.
    :param on_existing: What a rerun or a clear does with the task that an earlier one created: ``reattach`` uses it,
        and creates another only where it failed, expired, or was made from another input; ``resubmit`` creates another,
        once per clear; ``fail`` stops. A retry always uses it.
    :param reuse: How old a result of an earlier run may be, e.g. ``"30d"``, to be returned in place of a new task: the
        same input, stored and whole. Off by default. It is looked for below ``[kling] record_path``, else below
        ``output_path``, which should then be the same for all runs.
    :param callback_url: Where Kling posts each change of state: a URL of yours, which changes nothing here, or
        ``"auto"``. Then Kling calls our plugin in Airflow's API server (3.1 and later), which asks for the task and,
        if it has ended, wakes ours at once; polls go on as a safety net, six times less often, but at least once a
        minute. It needs ``deferrable``, ``wait_for_completion`` and ``[kling] callback_secret``; where one is missing,
        the task polls as usual. (templated)
    :param extra_body: API fields that the operator does not know yet. (templated)
    :param include_urls: Whether the manifest holds the signed links, which XCom then shows.
    :raises KlingInputError: naming field, value, limit and what to do: for constant values when the DAG is parsed, for
        all others before anything is sent.
    :raises KlingSubmissionUnknown: where a task may have been created and billed, and there is no way to tell.
    :raises KlingTaskFailed: where the task ended as failed.
    :raises KlingTaskTimeout: where it had not ended within ``timeout``; it goes on, and a retry rejoins it.
    :raises KlingError: of the class that the answer's code asks for.
    """

    family: str
    template_fields: Sequence[str] = ("kling_conn_id", "output_path", "output_name", "callback_url", "extra_body")
    operator_extra_links = LINKS
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        kling_conn_id: str = "kling_default",
        fallback_conn_ids: Sequence[str] = (),
        output_path: str | None = None,
        output_name: str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 10,
        timeout: float | timedelta = 3600,
        submit_timeout: float | timedelta = 3600,
        on_existing: str = "reattach",
        reuse: str | timedelta | None = None,
        callback_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        include_urls: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("map_index_template", "{{ task.source_name }}")
        super().__init__(**kwargs)
        self.kling_conn_id = kling_conn_id
        self.fallback_conn_ids = _check_conn_ids(fallback_conn_ids)
        self.output_path = output_path
        self.output_name = output_name
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = check_seconds("poll_interval", poll_interval)
        self.timeout = check_seconds("timeout", timeout)
        self.submit_timeout = check_seconds("submit_timeout", submit_timeout)
        self.on_existing = check_choice("on_existing", on_existing, ON_EXISTING)
        self.reuse = None if reuse is None else check_age("reuse", reuse)
        if self.reuse and not output_path:
            raise InputFault("reuse", reuse, "used with output_path", "only what is stored can be found again")
        self.callback_url = callback_url
        self.extra_body = extra_body or {}
        self.include_urls = include_urls
        self._own_callback_url: str | None = None
        self._submission: Submission | None = None
        self._submitted: Submitted | None = None

    # -- what a family adds --------------------------------------------------------------------------------------

    def read_source(self) -> Source:
        """Return what the output is made of."""
        raise NotImplementedError

    def build_request(self, source: Source, external_id: str | None) -> TaskRequest:
        """
        Return the checked request.

        :param source: What :meth:`read_source` returned.
        :param external_id: The id that we choose for the task.
        """
        raise NotImplementedError

    def slots(self) -> int:
        """Return how many concurrency slots of the account the task holds until it ends."""
        return 1

    def parameters(self, source: Source) -> Mapping[str, Any]:
        """
        Return what shows in the result beside the source: it goes into the fingerprint.

        :param source: What :meth:`read_source` returned.
        """
        return self.build_request(source, None).parameters()

    @property
    def sent_callback_url(self) -> str | None:
        """Where Kling is asked to post; an address of ours holds a token, and so is no template field."""
        return self._own_callback_url if self.callback_url == AUTO else self.callback_url

    @property
    def source_name(self) -> str:
        """What tells one of several mapped tasks from another: the source's name, without its place."""
        return name_of(getattr(self, "image", None) or getattr(self, "prompt", None) or self.task_id)

    def finishing(self) -> Mapping[str, Any]:
        """Return what is done to a result after it was paid for: files made in another way are not reused."""
        return {}

    def borders(self, task: Task) -> Mapping[int, Sequence[float]]:
        """
        Return where the source lies in what a task made of it, by the outputs' index; empty where it lies nowhere.

        :param task: A task that succeeded.
        """
        return {}

    def estimate(self) -> str:
        """Return what the task would take and cost, in words; reads the source, sends nothing."""
        from airflow_kling.lifecycle.submit import estimate_text

        request = self.build_request(self.read_source(), None)
        slots = f"{request.slots} slot{'s' if request.slots > 1 else ''} of the account"
        return f"{request.family.name}: {slots}, {estimate_text(request)}. Nothing was sent, and nothing was paid"

    def dry_run(self) -> None:
        """Log the rendered fields, and what the task would take and cost; nothing is sent."""
        if hasattr(super(), "dry_run"):  # not in Airflow 3.0
            super().dry_run()
        self.log.info("%s", self.estimate())


def name_of(source: object) -> str:
    """
    Return a source's name as a person would say it; nothing of a link but its last part, for it may be signed.

    :param source: URL, path, storage URI, manifest, or a prompt.
    """
    if isinstance(source, Mapping):
        return str(source.get("task_id") or "stored picture")
    text = str(source)
    return (text.partition("?")[0].rstrip("/").rpartition("/")[2] or text)[:NAME_LENGTH]


def _check_conn_ids(conn_ids: object) -> tuple[str, ...]:
    if isinstance(conn_ids, str) or not isinstance(conn_ids, Sequence) or not all(_is_name(name) for name in conn_ids):
        raise InputFault("fallback_conn_ids", conn_ids, "a list of connection ids", "e.g. ['kling_direct']")
    return tuple(conn_ids)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
