"""Where a picture comes from: a URL, a file of any storage, or the manifest of another Kling task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.inputs import InputFault

if TYPE_CHECKING:
    from airflow_kling.api.models import Task
    from airflow_kling.media.picture import Openable

MAX_NAME = 2048
MAX_URL = 8192
_ADVICE = "give an https URL, a path, a storage URI such as s3://conn@bucket/key, or another Kling operator's output"


@dataclass(frozen=True, slots=True)
class Source:
    """
    A picture that can be sent.

    :param image: What goes into a request's ``image`` field: a URL as it is, or base64.
    :param identity: What makes it this picture and no other: a link, a task's output, or a content's hash.
    """

    image: str = field(repr=False)
    identity: str


def resolve_image(
    image: object,
    *,
    get_task: Callable[[str, str, str], Task],
    open_path: Callable[[str], Openable],
    index: int = 0,
) -> Source:
    """
    Return the picture that a parameter names.

    :param image: URL, path, storage URI, or manifest.
    :param get_task: Asks a connection for a task: connection id, task id, family.
    :param open_path: Makes a path of a path or storage URI.
    :param index: Which output of the other task.
    :raises InputFault: for a picture that Kling would refuse, or that cannot be found.
    """
    check_image_source(image)
    from airflow_kling.lifecycle.fingerprint import source_of_content, source_of_task, source_of_url

    if isinstance(image, Mapping):
        return Source(_url_of_manifest(image, get_task, index), source_of_task(image["task_id"], index))
    name = str(image).strip()
    if is_url(name):
        return Source(name, source_of_url(name))
    from airflow_kling.media.picture import read_picture

    picture = read_picture(open_path(name), name)
    return Source(picture.base64, source_of_content(picture.sha256))


def check_image_source(image: object) -> None:
    """
    Refuse what can be no picture's source, without reading anything.

    :param image: URL, path, storage URI, or manifest.
    :raises InputFault: with what to give instead.
    """
    if isinstance(image, Mapping):
        if not isinstance(image.get("task_id"), str) or not isinstance(image.get("family"), str):
            raise InputFault("image", sorted(map(str, image)), "a manifest with task_id and family", _ADVICE)
        return
    if image is None or (isinstance(image, str) and not image.strip()):
        raise InputFault("image", image, "given", _ADVICE)
    if isinstance(image, (bytes, bytearray, list, tuple, int, float)):
        raise InputFault("image", f"a {type(image).__name__}", "a text or a manifest", _ADVICE)
    text = str(image).strip()
    if text[:5].lower() == "data:" or len(text) > (MAX_URL if is_url(text) else MAX_NAME):
        raise InputFault(
            "image",
            f"{len(text):,} characters of data",
            "a name, not the picture itself",
            "operators take no base64, for a template field is shown in the UI; " + _ADVICE,
        )
    if text.lstrip().startswith(("{", "[")) and "{{" not in text:
        raise InputFault(
            "image",
            "a rendered manifest",
            "the manifest itself",
            "pass operator.output instead of a template, or set render_template_as_native_obj on the DAG",
        )


def _url_of_manifest(manifest: Mapping[str, Any], get_task: Callable[[str, str, str], Task], index: int) -> str:
    from airflow_kling.api.families import OutputKind, get_family
    from airflow_kling.api.models import TaskStatus

    task_id, family = manifest["task_id"], manifest["family"]
    if get_family(family).kind is not OutputKind.IMAGE:
        raise InputFault("image", f"the manifest of a task of {family}", "that of a picture", _ADVICE)
    # Asked again: the manifest holds no link, and so none that can have expired.
    task = get_task(str(manifest.get("kling_conn_id") or ""), task_id, family)
    if task.status is not TaskStatus.SUCCEEDED:
        raise InputFault(
            "image", f"task {task_id}, which is {task.status.value}", "a task that succeeded", "wait for it first"
        )
    for output in task.outputs:
        if output.index == index:
            return output.url
    raise InputFault("image", f"output {index} of task {task_id}", f"one of {len(task.outputs)}", "choose another")
