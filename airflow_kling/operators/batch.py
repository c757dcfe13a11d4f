"""KlingExpandBatchOperator and KlingImageToVideoBatchOperator: any number of pictures in one worker slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kling.api.checks import SIDES
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import FIELDS, IMAGE_TO_VIDEO
from airflow_kling.operators.base import KlingTaskBaseOperator, name_of
from airflow_kling.operators.expand import KlingExpandImageOperator
from airflow_kling.operators.given import is_constant
from airflow_kling.operators.life import AUTO
from airflow_kling.operators.target import SHAPES
from airflow_kling.operators.video import KlingImageToVideoOperator

if TYPE_CHECKING:
    from airflow_kling.lifecycle.pressure import Pressure

EACH = "{{ each of images }}"
"""Stands for the picture where the single operator has one."""

_NOT_FOR_ROWS = ("image", "callback_url", "external_task_id", "watermark", "multi_shot")


class KlingBatchOperator(KlingTaskBaseOperator):
    """
    Make one remote task, or several passes, for each of many pictures, as many at a time as the account allows.

    How many run at once is learnt from the account's refusals. Each picture is paid once, whatever happens to the
    worker, and wherever it is in the list: its content, not its place, identifies it, and one that is listed twice is
    paid once. A retry, a rerun and a clear resume where the batch stopped. A picture that Kling would refuse is
    reported in its row, and costs nothing.

    Returns ``{"results", "family", "rows", "counts", "units", "spent"}``: ``units`` is what the pictures in its rows
    cost, ``spent`` what all tries and clears cost; ``results`` is the path of the results manifest, a JSONL file with
    a row for each picture: ``row``, ``source``, ``status``, ``task_id``, ``outputs``, ``units``, ``error``. It is
    written even if the batch fails. Another batch takes it as its ``images``.

    :param images: A folder or prefix (its JPG and PNG files, by name); a list of URLs, paths, storage URIs, other
        operators' outputs, or mappings with ``image`` and parameters of that picture alone; a ``.jsonl`` or ``.csv``
        manifest of the same, whose relative paths lie beside it; or what another Kling operator returned. (templated)
    :param max_concurrency: Slots of the account that the batch may hold at most; a task holds as many as it makes
        pictures. By default as many as the account gives.
    :param budget: Units by list price that the batch may cost, over all its tries; nothing is started that would
        exceed it.
    :param min_success_ratio: Share of the rows that must succeed, 0-1; with fewer the task fails, once all is done.
    :raises KlingInputError: for a parameter that no batch takes, and for images that cannot be listed.
    :raises KlingTransientError: where too few succeeded, and a retry can resume.
    :raises KlingTaskFailed: where too few succeeded, and none can.
    :raises KlingError: of the class of what stopped the batch: key, account, budget, a route that is missing.
    """

    row_fields: ClassVar[Sequence[str]] = ()
    #: What shows in the results, too, and is the same for all rows.
    other_fields: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        *,
        images: str | Sequence[Any] | Mapping[str, Any] | Any,
        max_concurrency: int | None = None,
        budget: float | None = None,
        min_success_ratio: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(image=EACH, **kwargs)
        self.images = images
        self.max_concurrency = _check_number("max_concurrency", max_concurrency, 1, None, whole=True)
        self.budget = _check_number("budget", budget, 0, None)
        self.min_success_ratio = _check_number("min_success_ratio", min_success_ratio, 0, 1, optional=False)
        if not self.output_path:
            raise InputFault("output_path", self.output_path, "given", "results and the batch's memory are kept there")
        if not self.wait_for_completion:
            raise InputFault("wait_for_completion", False, "True", "a batch submits as others end")
        if is_constant(self.output_name):
            self.check_name()
        if self.reuse:
            raise InputFault("reuse", self.reuse, "left out", "a batch remembers its own pictures below output_path")
        if self.callback_url == AUTO:
            raise InputFault("callback_url", AUTO, "left out", "a batch asks for all of its tasks at once")
        if is_constant(images) and not images:
            raise InputFault("images", images, "given", "name a folder, a list or a manifest")
        self._running: Any = None

    @property
    def source_name(self) -> str:
        return name_of(self.images if isinstance(self.images, str) else self.task_id)

    def check_name(self) -> None:
        """
        Refuse a name that all pictures would share.

        :raises InputFault: with what to give instead.
        """
        if self.output_name and "{task_id}" not in self.output_name:
            raise InputFault("output_name", self.output_name, "a text with {task_id}", "each picture needs a name")

    def own_parameters(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the attributes of a picture with parameters of its own.

        :param own: By their names.
        """
        return dict(own)

    def settings(self) -> Mapping[str, Any]:
        """Return what shows in the results, the pictures apart."""
        return {name: getattr(self, name) for name in (*self.row_fields, *self.other_fields, "extra_body")}

    def estimate(self) -> str:
        """Return how many pictures there are; reads none of them, sends nothing."""
        from airflow_kling.hooks.storage import storage_path
        from airflow_kling.lifecycle.batch_rows import read_rows

        rows = read_rows(self.images, open_path=storage_path, fields=self.row_fields)
        broken = [row.fault for row in rows if row.fault]
        return "; ".join([f"{len(rows):,} pictures. Nothing was sent, and nothing was paid", *broken])

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        return self._run(context, self.fresh_pressure())

    def execute_complete(self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._run(context, self.fresh_pressure(), event)

    def on_kill(self) -> None:
        """Say what goes on remotely; the API has no cancel."""
        if self._running is not None:
            self.log.warning("%s", self._running.killed_text())

    def _run(
        self, context: Mapping[str, Any], pressure: Pressure, event: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        from airflow_kling.exceptions import errors_for
        from airflow_kling.operators.batch_run import BatchRun

        with errors_for("batch"):
            self._running = BatchRun(self, context, pressure, event)
            return self._running.run()  # type: ignore[no-any-return]


class KlingExpandBatchOperator(KlingBatchOperator, KlingExpandImageOperator):
    """
    Give many pictures more canvas (Kling's image expansion), by ratios, or by what each should become.

    Beside the parameters of :class:`KlingBatchOperator` it takes those of
    :class:`~airflow_kling.operators.expand.KlingExpandImageOperator`, ``image`` apart, for all pictures. A row of a
    list or manifest may have for itself: ``up``, ``down``, ``left``, ``right``, ``aspect_ratio``, ``size``, ``pixels``
    (one of these replaces what the batch says of them), ``anchor``, ``fit``, ``prompt`` and ``n``.
    """

    row_fields = (*SIDES, *SHAPES, "anchor", "fit", "prompt", "n")
    other_fields = ("max_crop", "for_video", "preserve_original", "watermark", "image_index")
    template_fields: Sequence[str] = (
        "images",
        *(name for name in KlingExpandImageOperator.template_fields if name != "image"),
    )

    def own_parameters(self, own: Mapping[str, Any]) -> dict[str, Any]:
        if not any(name in own for name in (*SIDES, *SHAPES)):
            return dict(own)
        return dict.fromkeys(SIDES, 0) | dict.fromkeys(SHAPES) | dict(own)


class KlingImageToVideoBatchOperator(KlingBatchOperator, KlingImageToVideoOperator):
    """
    Make clips from many pictures (Kling's image to video).

    Beside the parameters of :class:`KlingBatchOperator` it takes those of
    :class:`~airflow_kling.operators.video.KlingImageToVideoOperator`, ``image`` apart, for all pictures. A row of a
    list or manifest may have every one of them for itself but the bools. ``images=expand_batch.output`` makes a clip of
    each picture that the expansion made.
    """

    row_fields = tuple(name for name in FIELDS[IMAGE_TO_VIDEO] if name not in _NOT_FOR_ROWS)
    other_fields = ("watermark", "multi_shot", "image_index")
    template_fields: Sequence[str] = (
        "images",
        *(name for name in KlingImageToVideoOperator.template_fields if name != "image"),
    )


def _check_number(
    field: str, value: Any, least: float, most: float | None, *, whole: bool = False, optional: bool = True
) -> Any:
    if value is None and optional:
        return None
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value
    if not fits or (most is not None and value > most) or (whole and value % 1 != 0):
        limit = f"{'a whole number' if whole else 'a number'} from {least:g}" + (f" to {most:g}" if most else "")
        raise InputFault(field, value, limit, "correct it, or leave it out")
    return value
