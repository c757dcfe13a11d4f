"""What operators share whose parameters are the fields of one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_kling.api.rules import FIELDS, PICTURE_FIELDS, check_extra_fields, check_fields, check_index
from airflow_kling.lifecycle.fields import check_sources, unsigned_fields
from airflow_kling.operators.base import KlingTaskBaseOperator
from airflow_kling.operators.given import is_known

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.lifecycle.fields import Sources

#: Fields that name what lies elsewhere.
SOURCE_FIELDS = (*PICTURE_FIELDS, "dynamic_masks", "video_id")
#: The parameter that says which output of another operator's task a field takes.
INDEXES = {"image": "image_index", "video_id": "video_index"}
_OF_BASE = ("callback_url", "external_task_id")
_SWITCHES = ("watermark", "multi_shot")


def templated(family: str) -> tuple[str, ...]:
    """Return the template fields of a family's operator: its request's fields, the bools apart."""
    names = [name for name in FIELDS[family] if name not in (*_OF_BASE, *_SWITCHES)]
    return (*names, *(INDEXES[name] for name in names if name in INDEXES), *KlingTaskBaseOperator.template_fields)


class KlingFieldsBaseOperator(KlingTaskBaseOperator):
    """
    Make one task of a family whose request has a class of its own; the attributes are named as its fields.

    What is constant is checked when the DAG is parsed, everything before anything is sent.
    """

    def read_source(self) -> Sources:
        indexes = {name: check_index(INDEXES[name], getattr(self, INDEXES[name])) for name in self._indexed()}
        from airflow_kling.operators.work import read_fields

        return read_fields(self._sources(), self.kling_conn_id, indexes)

    def build_request(self, source: Any, external_id: str | None) -> TaskRequest:
        from airflow_kling.api.requests import REQUESTS

        fields = self._given() | source.fields
        fields |= {
            "callback_url": self.sent_callback_url,
            "external_task_id": external_id,
            "extra_body": self.extra_body,
        }
        request = REQUESTS[self.family](**fields)
        if external_id is not None:  # about to be sent
            for warning in request.warnings:
                self.log.warning("%s", warning)
        return request

    def parameters(self, source: Any) -> Mapping[str, Any]:
        # Without what the identity tells: a link in it may have been signed anew since.
        told = super().parameters(source)
        return unsigned_fields({name: value for name, value in told.items() if name not in source.fields})

    def _check_constants(self) -> None:
        """Refuse at parse time what no rendering can mend."""
        check_sources(self._sources(), is_known)
        for name in self._indexed():
            if is_known(getattr(self, INDEXES[name])):
                check_index(INDEXES[name], getattr(self, INDEXES[name]))
        known = {name: value for name, value in self._given().items() if is_known(value)}
        if isinstance(known.get("video_id"), Mapping):
            del known["video_id"]
        if is_known(self.callback_url):
            known["callback_url"] = self.sent_callback_url
        check_fields(self.family, known, pictures=False)
        if is_known(self.extra_body):
            check_extra_fields(self.family, self.extra_body)

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS[self.family] if name not in _OF_BASE}

    def _sources(self) -> dict[str, Any]:
        given = self._given().items()
        # What is not given stays out of the identity, which must outlive a version with further fields.
        return {name: value for name, value in given if name in SOURCE_FIELDS and value is not None and value != ""}

    def _indexed(self) -> list[str]:
        return [name for name in INDEXES if name in FIELDS[self.family]]
