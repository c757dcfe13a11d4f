"""Where pictures and clips come from: a URL, a file of any storage, an id, or the manifest of another Kling task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.families import get_family
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import check_video_id
from airflow_kling.lifecycle.fingerprint import source_of_content, source_of_task, source_of_url

if TYPE_CHECKING:
    from airflow_kling.api.models import Output, Task
    from airflow_kling.media.picture import Openable

    GetTask = Callable[[str, str, str], Task]
    OpenPath = Callable[[str], Openable]

MAX_NAME = 2048
MAX_URL = 8192
_ADVICE = "give an https URL, a path, a storage URI such as s3://conn@bucket/key, or another Kling operator's output"
_VIDEO_ADVICE = "give the id of a clip, or the output of another Kling operator that makes one"
_NOUNS = {"image": "picture", "video": "clip"}


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
    image: object, *, get_task: GetTask, open_path: OpenPath, index: int = 0, field: str = "image"
) -> Source:
    """
    Return the picture that a parameter names.

    :param image: URL, path, storage URI, or manifest.
    :param get_task: Asks a connection for a task: connection id, task id, family.
    :raises InputFault: for a picture that Kling would refuse, or that cannot be found.
    """
    check_image_source(image, field)
    if isinstance(image, Mapping):
        return resolve_output(image, get_task=get_task, open_path=open_path, index=index, field=field)
    name = str(image).strip()
    if is_url(name):
        return Source(name, source_of_url(name))
    return _of_file(name, open_path, field)


def resolve_video(video: object, *, get_task: GetTask, index: int = 0, field: str = "video_id") -> Source:
    """
    Return the clip that a parameter names; its id goes into the ``image`` of what is returned.

    :param video: Id of a clip, or manifest.
    :raises InputFault: for what is no clip, or cannot be found.
    """
    check_video_source(video, field)
    if not isinstance(video, Mapping):
        return Source(str(video), str(video))
    output = _output(video, get_task, index, field)
    if not output.id:
        raise InputFault(field, f"output {index} of task {video['task_id']}", "a clip with an id", "Kling gave it none")
    return Source(output.id, source_of_task(video["task_id"], index))


def resolve_output(
    manifest: Mapping[str, Any], *, get_task: GetTask, open_path: OpenPath, index: int = 0, field: str
) -> Source:
    """
    Return an output of another task, of whatever kind.

    :raises InputFault: for what cannot be found.
    """
    check_manifest(manifest, field)
    row = next((row for row in _rows(manifest) if row.get("index") == index), {})
    # Finished here after the task, or made without one: the stored file alone is the result.
    if row.get("uri") and (row.get("edited") or manifest["task_id"] is None):
        return _of_file(str(row["uri"]), open_path, field)
    if manifest["task_id"] is None:
        raise InputFault(field, f"output {index} of a manifest without a task", "a stored one", "choose another")
    return Source(_output(manifest, get_task, index, field).url, source_of_task(manifest["task_id"], index))


def is_manifest(value: object) -> bool:
    """Return whether a value is what a Kling operator returned."""
    return isinstance(value, Mapping) and "task_id" in value and "family" in value


def check_image_source(image: object, field: str = "image") -> None:
    """
    Refuse what can be no picture's source, without reading anything.

    :raises InputFault: with what to give instead.
    """
    if isinstance(image, Mapping):
        check_manifest(image, field)
        _check_kind(image, "image", field, _ADVICE)
        return
    if image is None or (isinstance(image, str) and not image.strip()):
        raise InputFault(field, image, "given", _ADVICE)
    if isinstance(image, (bytes, bytearray, list, tuple, int, float)):
        raise InputFault(field, f"a {type(image).__name__}", "a text or a manifest", _ADVICE)
    text = str(image).strip()
    if text[:5].lower() == "data:" or len(text) > (MAX_URL if is_url(text) else MAX_NAME):
        raise no_data(text, field, "a name, not the picture itself")
    _check_rendered(text, field)


def check_video_source(video: object, field: str = "video_id") -> None:
    """
    Refuse what can be no clip's source, without asking for anything.

    :raises InputFault: with what to give instead.
    """
    if not isinstance(video, Mapping):
        _check_rendered(str(video).strip(), field)
        check_video_id(field, video)
        return
    check_manifest(video, field, _VIDEO_ADVICE, stored=False)
    _check_kind(video, "video", field, _VIDEO_ADVICE)


def check_manifest(manifest: Mapping[str, Any], field: str, advice: str = _ADVICE, *, stored: bool = True) -> None:
    """
    Refuse a mapping that is no manifest, or one of nothing.

    :param stored: Whether one without a task will do, if it has a stored file.
    :raises InputFault: with what to give instead.
    """
    named = isinstance(manifest.get("task_id"), str)
    if stored and manifest.get("task_id", "") is None:  # nothing had to be paid
        named = any(row.get("uri") for row in _rows(manifest))
    if not named or not isinstance(manifest.get("family"), str):
        raise InputFault(field, sorted(map(str, manifest)), "a manifest with task_id and family", advice)


def _check_kind(manifest: Mapping[str, Any], kind: str, field: str, advice: str) -> None:
    if get_family(manifest["family"]).kind != kind:
        raise InputFault(field, f"the manifest of a task of {manifest['family']}", f"that of a {_NOUNS[kind]}", advice)


def _check_rendered(text: str, field: str) -> None:
    if text.startswith(("{", "[")) and "{{" not in text:
        raise InputFault(
            field,
            "a rendered manifest",
            "the manifest itself",
            "pass operator.output instead of a template, or set render_template_as_native_obj on the DAG",
        )


def no_data(text: str, field: str, limit: str) -> InputFault:
    """
    Return the refusal of data where a name should be.

    :param text: The data, which is not shown.
    """
    advice = f"operators take no base64, for a template field is shown in the UI; {_ADVICE}"
    return InputFault(field, f"{len(text):,} characters of data", limit, advice)


def _rows(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in manifest.get("outputs") or () if isinstance(row, Mapping)]


def _of_file(name: str, open_path: OpenPath, field: str) -> Source:
    from airflow_kling.media.picture import read_picture

    try:
        picture = read_picture(open_path(name), name)
    except InputFault as fault:
        raise InputFault(field, fault.value, fault.limit, fault.advice) from None
    return Source(picture.base64, source_of_content(picture.sha256))


def _output(manifest: Mapping[str, Any], get_task: GetTask, index: int, field: str) -> Output:
    from airflow_kling.api.models import TaskStatus

    task_id, family = manifest["task_id"], manifest["family"]
    # Asked again: the manifest holds no link, and so none that can have expired.
    task = get_task(str(manifest.get("kling_conn_id") or ""), task_id, family)
    if task.status is not TaskStatus.SUCCEEDED:
        advice = "clear the step that made it, to have another" if task.status.ended else "wait for it first"
        raise InputFault(field, f"task {task_id}, which is {task.status.value}", "a task that succeeded", advice)
    for output in task.outputs:
        if output.index == index:
            return output
    raise InputFault(field, f"output {index} of task {task_id}", f"one of {len(task.outputs)}", "choose another")
