"""Where pictures and clips come from: a URL, a file of any storage, an id, or the manifest of another Kling task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.inputs import InputFault

if TYPE_CHECKING:
    from airflow_kling.api.families import OutputKind
    from airflow_kling.api.models import Output, Task
    from airflow_kling.media.picture import Openable

    GetTask = Callable[[str, str, str], Task]
    OpenPath = Callable[[str], Openable]

MAX_NAME = 2048
MAX_URL = 8192
_ADVICE = "give an https URL, a path, a storage URI such as s3://conn@bucket/key, or another Kling operator's output"
_VIDEO_ADVICE = "give the id of a clip, or the output of another Kling operator that makes one"
_NO_BASE64 = "operators take no base64, for a template field is shown in the UI; "


@dataclass(frozen=True, slots=True)
class Source:
    """
    A picture that can be sent.

    :param image: What goes into a request's ``image`` field: a URL as it is, or base64.
    :param identity: What makes it this picture and no other: a link, a task's output, or a content's hash.
    """

    image: str = field(repr=False)
    identity: str


class Sources(Source):
    """
    All that a request takes from elsewhere.

    :param fields: By the wire's names, as they are sent.
    :param identity: What makes them these and no others: of all of them together.
    """

    __slots__ = ("fields",)

    fields: Mapping[str, Any]

    def __init__(self, fields: Mapping[str, Any], identity: str) -> None:
        # Set so, for the class is frozen.
        for name, value in (("image", fields.get("image") or ""), ("identity", identity), ("fields", fields)):
            object.__setattr__(self, name, value)


def resolve_image(
    image: object, *, get_task: GetTask, open_path: OpenPath, index: int = 0, field: str = "image"
) -> Source:
    """
    Return the picture that a parameter names.

    :param image: URL, path, storage URI, or manifest.
    :param get_task: Asks a connection for a task: connection id, task id, family.
    :param open_path: Makes a path of a path or storage URI.
    :param index: Which output of the other task.
    :param field: Name of the parameter.
    :raises InputFault: for a picture that Kling would refuse, or that cannot be found.
    """
    check_image_source(image, field)
    if isinstance(image, Mapping):
        from airflow_kling.api.families import OutputKind

        return _of_manifest(image, OutputKind.IMAGE, get_task, open_path, index, field)
    name = str(image).strip()
    if is_url(name):
        from airflow_kling.lifecycle.fingerprint import source_of_url

        return Source(name, source_of_url(name))
    return _of_file(name, open_path, field)


def resolve_fields(
    fields: Mapping[str, Any],
    *,
    get_task: GetTask,
    open_path: OpenPath,
    indexes: Mapping[str, int] | None = None,
    path: str = "",
) -> Sources:
    """
    Return fields of a request with everything that they take from elsewhere, at any depth.

    Under a key that ends in ``video_id`` a manifest stands for a clip's id, elsewhere for the output's URL. A path or
    storage URI under a picture's name is read.

    :param fields: By the wire's names.
    :param get_task: Asks a connection for a task: connection id, task id, family.
    :param open_path: Makes a path of a path or storage URI.
    :param indexes: Which output of another task, by the field's name; else the first.
    :param path: Name of the parameter that holds the fields, if they are not parameters themselves.
    :raises InputFault: for what Kling would refuse, or what cannot be found.
    """
    import json

    def resolve(name: str, where: str, value: Any) -> _Leaf:
        index = (indexes or {}).get(name, 0)
        if _is_absent(value):
            return _Leaf(value, value)
        if _is_clip(name):
            check_video_source(value, where)
            return _clip_of_manifest(value, get_task, index, where) if is_manifest(value) else _Leaf(value, value)
        if is_picture_field(name):
            source = resolve_image(value, get_task=get_task, open_path=open_path, index=index, field=where)
        elif is_manifest(value):
            source = _of_manifest(value, None, get_task, open_path, index, where)
        else:
            check_text_source(value, where)
            return _Leaf(value, _unsigned(value))
        return _Leaf(source.image, source.identity)

    leaves = _walk("", path, fields, resolve)
    told = _walk("", path, leaves, lambda name, where, leaf: leaf.told)
    return Sources(
        _walk("", path, leaves, lambda name, where, leaf: leaf.sent), json.dumps(told, sort_keys=True, default=str)
    )


def check_sources(fields: Mapping[str, Any], is_known: Callable[[object], bool], path: str = "") -> None:
    """
    Refuse what can be no source among fields, without reading anything.

    :param fields: By the wire's names.
    :param is_known: Whether a value is there already; others are passed over.
    :param path: Name of the parameter that holds the fields, if they are not parameters themselves.
    :raises InputFault: with what to give instead.
    """

    def check(name: str, where: str, value: Any) -> None:
        if _is_absent(value) or not is_known(value):
            return
        if _is_clip(name):
            check_video_source(value, where)
        elif is_picture_field(name) or is_manifest(value):
            check_image_source(value, where)
        else:
            check_text_source(value, where)

    _walk("", path, fields, check)


def is_manifest(value: object) -> bool:
    """Return whether a value is what a Kling operator returned."""
    return isinstance(value, Mapping) and "task_id" in value and "family" in value


def is_picture_field(name: str) -> bool:
    """Return whether a field of that name holds a picture: ``image``, ``mask``, ``human_image`` and the like."""
    from airflow_kling.api.rules import PICTURE_FIELDS

    return name in PICTURE_FIELDS or name == "mask" or name.endswith("_image")


def unsigned_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return fields with the links in them, at any depth, without what signs them.

    :param fields: By the wire's names.
    """
    told: dict[str, Any] = _walk("", "", fields, lambda name, where, value: _unsigned(value))
    return told


def check_image_source(image: object, field: str = "image") -> None:
    """
    Refuse what can be no picture's source, without reading anything.

    :param image: URL, path, storage URI, or manifest.
    :param field: Name of the parameter.
    :raises InputFault: with what to give instead.
    """
    if isinstance(image, Mapping):
        _check_manifest(image, field, _ADVICE, stored=True)
        return
    if image is None or (isinstance(image, str) and not image.strip()):
        raise InputFault(field, image, "given", _ADVICE)
    if isinstance(image, (bytes, bytearray, list, tuple, int, float)):
        raise InputFault(field, f"a {type(image).__name__}", "a text or a manifest", _ADVICE)
    text = str(image).strip()
    if text[:5].lower() == "data:" or len(text) > (MAX_URL if is_url(text) else MAX_NAME):
        raise _no_data(text, field, "a name, not the picture itself")
    _check_rendered(text, field)


def check_video_source(video: object, field: str = "video_id") -> None:
    """
    Refuse what can be no clip's source, without asking for anything.

    :param video: Id of a clip, or manifest.
    :param field: Name of the parameter.
    :raises InputFault: with what to give instead.
    """
    from airflow_kling.api.families import OutputKind, get_family
    from airflow_kling.api.rules import check_video_id

    if not isinstance(video, Mapping):
        _check_rendered(str(video).strip(), field)
        check_video_id(field, video)
        return
    _check_manifest(video, field, _VIDEO_ADVICE, stored=False)
    if get_family(video["family"]).kind is not OutputKind.VIDEO:
        raise InputFault(field, f"the manifest of a task of {video['family']}", "that of a clip", _VIDEO_ADVICE)


def check_text_source(value: object, field: str) -> None:
    """
    Refuse a picture or a sound that stands among the fields itself.

    :param value: Of any field.
    :param field: Its name.
    :raises InputFault: with what to give instead.
    """
    if not isinstance(value, str):
        return
    text = value.strip()
    is_one_word = len(text) > MAX_URL and not any(sign.isspace() for sign in text)
    if is_one_word or text[:5].lower() == "data:":
        raise _no_data(text, field, "a link, not the data itself")


class _Leaf:
    """A value as it is sent, and what identifies it."""

    __slots__ = ("sent", "told")

    def __init__(self, sent: Any, told: Any) -> None:
        self.sent, self.told = sent, told


def _walk(name: str, path: str, value: Any, visit: Callable[[str, str, Any], Any]) -> Any:
    """Return the same tree with each leaf as visited: by its key, its path and its value; a manifest is a leaf."""
    is_leaf = is_manifest(value) or is_picture_field(name) or _is_clip(name)
    if isinstance(value, Mapping) and not is_leaf:
        return {key: _walk(str(key), f"{path}.{key}".lstrip("."), row, visit) for key, row in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(name, path, row, visit) for row in value]
    return visit(name, path, value)


def _unsigned(value: Any) -> Any:
    from airflow_kling.lifecycle.fingerprint import source_of_url

    is_link = isinstance(value, str) and is_url(value) and not any(sign.isspace() for sign in value)
    return source_of_url(value) if is_link else value


def _is_absent(value: object) -> bool:
    return value is None or value == ""


def _is_clip(name: str) -> bool:
    return name.endswith("video_id")


def _check_manifest(manifest: Mapping[str, Any], field: str, advice: str, *, stored: bool) -> None:
    named = isinstance(manifest.get("task_id"), str)
    if stored and manifest.get("task_id", "") is None:  # nothing had to be paid
        named = any(row.get("uri") for row in _rows(manifest))
    if not named or not isinstance(manifest.get("family"), str):
        raise InputFault(field, sorted(map(str, manifest)), "a manifest with task_id and family", advice)


def _check_rendered(text: str, field: str) -> None:
    if text.startswith(("{", "[")) and "{{" not in text:
        raise InputFault(
            field,
            "a rendered manifest",
            "the manifest itself",
            "pass operator.output instead of a template, or set render_template_as_native_obj on the DAG",
        )


def _no_data(text: str, field: str, limit: str) -> InputFault:
    return InputFault(field, f"{len(text):,} characters of data", limit, _NO_BASE64 + _ADVICE)


def _rows(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in manifest.get("outputs") or () if isinstance(row, Mapping)]


def _of_file(name: str, open_path: OpenPath, field: str) -> Source:
    from airflow_kling.lifecycle.fingerprint import source_of_content
    from airflow_kling.media.picture import read_picture

    try:
        picture = read_picture(open_path(name), name)
    except InputFault as fault:
        raise InputFault(field, fault.value, fault.limit, fault.advice) from None
    return Source(picture.base64, source_of_content(picture.sha256))


def _of_manifest(
    manifest: Mapping[str, Any],
    kind: OutputKind | None,
    get_task: GetTask,
    open_path: OpenPath,
    index: int,
    field: str,
) -> Source:
    from airflow_kling.api.families import get_family
    from airflow_kling.lifecycle.fingerprint import source_of_task

    if kind is not None and get_family(manifest["family"]).kind is not kind:
        raise InputFault(field, f"the manifest of a task of {manifest['family']}", "that of a picture", _ADVICE)
    row = next((row for row in _rows(manifest) if row.get("index") == index), {})
    # Finished here after the task, or made without one: the stored file alone is the result.
    if row.get("uri") and (row.get("edited") or manifest["task_id"] is None):
        return _of_file(str(row["uri"]), open_path, field)
    if manifest["task_id"] is None:
        raise InputFault(field, f"output {index} of a manifest without a task", "a stored one", "choose another")
    output = _output(manifest, get_task, index, field)
    return Source(output.url, source_of_task(manifest["task_id"], index))


def _clip_of_manifest(manifest: Mapping[str, Any], get_task: GetTask, index: int, field: str) -> _Leaf:
    from airflow_kling.lifecycle.fingerprint import source_of_task

    output = _output(manifest, get_task, index, field)
    if not output.id:
        task_id = manifest["task_id"]
        raise InputFault(field, f"output {index} of task {task_id}", "a clip with an id", "Kling gave it none")
    return _Leaf(output.id, source_of_task(manifest["task_id"], index))


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
