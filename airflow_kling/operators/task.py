"""KlingTaskOperator: a task of any family, its fields given by their names in the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import check_callback_url, check_n
from airflow_kling.api.families import get_family
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import check_any_fields
from airflow_kling.lifecycle.fields import check_sources
from airflow_kling.operators.base import KlingTaskBaseOperator
from airflow_kling.operators.given import is_known

if TYPE_CHECKING:
    from airflow_kling.api.requests import AnyRequest
    from airflow_kling.lifecycle.fields import Sources


class KlingTaskOperator(KlingTaskBaseOperator):
    """
    Make one task of any family (lip-sync, video effects, virtual try-on, …).

    Of the fields only ``n`` and what they take from elsewhere are checked. Beside the parameters below it takes
    those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`.

    :param family: Name of the family, one of :data:`airflow_kling.api.families.FAMILIES`. (templated)
    :param fields: The body, by the API's names. Another operator's output in it, at any depth, becomes the clip's id
        under a key that ends in ``video_id``, and elsewhere the first output's link. Under a picture's name (``image``,
        ``image_tail``, ``mask``, ``human_image``, …) a path or storage URI is read. (templated)
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    template_fields: Sequence[str] = ("family", "fields", *KlingTaskBaseOperator.template_fields)

    def __init__(self, *, family: str, fields: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.family = family
        self.fields = fields
        self._check_constants()

    def slots(self) -> int:
        n = self._body().get("n") if get_family(self.family).slots_per_output else None
        return 1 if n is None else check_n(n)

    def read_source(self) -> Sources:
        from airflow_kling.operators.work import read_fields

        return read_fields(self._body(), self.kling_conn_id, path="fields")

    def build_request(self, source: Any, external_id: str | None) -> AnyRequest:
        from airflow_kling.api.requests import AnyRequest

        return AnyRequest(self.family, source.fields, external_id, self.sent_callback_url)

    def parameters(self, source: Any) -> Mapping[str, Any]:
        return {}  # the identity is that of all fields

    def _body(self) -> dict[str, Any]:
        fields: object = self.fields
        if not isinstance(fields, Mapping):
            advice = "set render_template_as_native_obj on the DAG where a template gives them all"
            raise InputFault("fields", fields, "a mapping of field names to values", advice)
        return {**self.extra_body, **fields}

    def _check_constants(self) -> None:
        """Refuse at parse time what no rendering can mend."""
        if is_known(self.family):
            get_family(self.family)
        if is_known(self.callback_url):
            check_callback_url(self.sent_callback_url)
        if is_known(self.fields):
            check_any_fields(self.fields)
        if isinstance(self.fields, Mapping):
            check_sources(self.fields, is_known, "fields")
