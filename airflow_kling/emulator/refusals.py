"""What a request is refused with: the code, the words, and the shape in which a dialect says it."""

from __future__ import annotations

from enum import Enum

from airflow_kling.api.codes import CODES


class Shape(Enum):
    """The four shapes of a refusal."""

    KLING = "code, message, request_id"
    GATEWAY_ERROR = "error object of a gateway"
    GATEWAY_TASK = "task error of a gateway"
    NO_ROUTE = "code null, message 404"


class Refusal(Exception):
    """
    A request that is answered with a code instead of a task.

    :param code: Kling's code or a gateway's word; None where a gateway has no such route.
    :param http_status: The documents' status of the code, unless given.
    """

    def __init__(
        self, code: int | str | None, message: str, shape: Shape = Shape.KLING, http_status: int | None = None
    ) -> None:
        super().__init__(code, message)
        self.code, self.message, self.shape = code, message, shape
        row = CODES.get(code) if code is not None else None
        self.http_status = http_status or (row.http_status if row else 200)


def no_route() -> Refusal:
    """Return the answer of CometAPI, seen on 2026-03-13, for a route that it documents but does not have."""
    return Refusal(None, "404", Shape.NO_ROUTE)


def unknown_task(ident: str, *, on_gateway: bool) -> Refusal:
    """Return the answer to a query of an id that the account does not know."""
    if on_gateway:
        return Refusal("task_not_exist", "task_not_exist", Shape.GATEWAY_TASK)
    return Refusal(1201, f"Task not found by id/external id: {ident}")
