"""What Kling documents of its models for clips and pictures, and the checks that refuse what contradicts it.

Light, for DAG files import it. A rule is refused only where a document says so; what the documents leave open, or where
they disagree, passes. Sources: Kling's pages "Image to Video", "Text to Video", "Video Extension", "Image Generation"
and its capability maps and price lists of 2026-05, the older rows of those maps for the models that left them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from airflow_kling.api.checks import (
    check_callback_url,
    check_choice,
    check_external_task_id,
    check_flag,
    check_image,
    check_json,
    check_n,
    check_prompt,
    check_whole_number,
    number_of,
)
from airflow_kling.api.inputs import InputFault

IMAGE_TO_VIDEO, TEXT_TO_VIDEO = "image-to-video", "text-to-video"
VIDEO_EXTENSION, IMAGE_GENERATION = "video-extension", "image-generation"

STD, PRO, FOUR_K = "std", "pro", "4k"
MODES = (STD, PRO, FOUR_K)
DEFAULT_MODE, DEFAULT_DURATION, DEFAULT_VIDEO_MODEL = STD, 5, "kling-v1"
MIN_DURATION, MAX_DURATION = 3, 15
VIDEO_ASPECTS = ("16:9", "9:16", "1:1")
IMAGE_ASPECTS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
DEFAULT_ASPECT = "16:9"
RESOLUTIONS = ("1k", "2k")
REFERENCES = ("subject", "face")
CAMERA_TYPES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
CAMERA_MOVES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
MAX_CAMERA_MOVE = 10
SHOT_TYPES = ("customize", "intelligence")
MAX_SHOTS, MAX_SHOT_PROMPT = 6, 512
MAX_MASKS, MIN_POINTS, MAX_POINTS = 6, 2, 77
MAX_VOICES, MAX_VIDEO_ELEMENTS, MAX_REFERENCES = 2, 3, 10
MAX_ID = 128

Where: TypeAlias = Mapping[str, tuple[int, ...]]
"""Modes in which something works, and the durations in seconds there."""

_FIVE_OR_TEN = (5, 10)
_FROM_3_TO_15 = tuple(range(MIN_DURATION, MAX_DURATION + 1))
_NOWHERE: Where = {}
_FREE: dict[str, float] = {}
_BOTH = (IMAGE_TO_VIDEO, TEXT_TO_VIDEO)
_STD_5: Where = {STD: (5,)}
_PRO_5: Where = {PRO: (5,)}
_ANY_5: Where = {STD: (5,), PRO: (5,)}
_PRO_ONLY: Where = {PRO: _FIVE_OR_TEN}
_ANY_V3: Where = dict.fromkeys(MODES, _FROM_3_TO_15)


# Plain classes: as dataclasses or NamedTuples they would be most of what importing this module costs a DAG file.
class VideoModel:
    """
    What is documented of a model for clips.

    :param units: List price in units per second, by mode, of a silent clip.
    :param units_sound: The same with sound; empty where it makes none.
    :param units_voice: The same with voices of one's own.
    :param durations: Seconds that a clip can have.
    :param families: Which of the two families list it.
    :param cfg_scale: Whether it takes one.
    :param tail: Where it takes a last frame.
    :param tail_alone: Whether it takes a last frame without a first one.
    :param tail_with_sound: Whether such a clip can have sound.
    :param masks: Where it takes the motion brush.
    :param camera_of_image: Where a clip made from a picture takes ``camera_control``.
    :param camera_of_text: Where a clip made from text does.
    :param camera_types: Which types of it.
    :param elements: Whether it takes ``element_list``.
    :param shots: Whether it makes several shots.
    """

    def __init__(
        self,
        units: Mapping[str, float],
        *,
        units_sound: Mapping[str, float] = _FREE,
        units_voice: Mapping[str, float] = _FREE,
        durations: tuple[int, ...] = _FIVE_OR_TEN,
        families: tuple[str, ...] = _BOTH,
        cfg_scale: bool = False,
        tail: Where = _NOWHERE,
        tail_alone: bool = False,
        tail_with_sound: bool = False,
        masks: Where = _NOWHERE,
        camera_of_image: Where = _NOWHERE,
        camera_of_text: Where = _NOWHERE,
        camera_types: tuple[str, ...] = CAMERA_TYPES,
        elements: bool = True,
        shots: bool = False,
    ) -> None:
        self.units, self.units_sound, self.units_voice = units, units_sound, units_voice
        self.durations, self.families, self.cfg_scale = durations, families, cfg_scale
        self.tail, self.tail_alone, self.tail_with_sound = tail, tail_alone, tail_with_sound
        self.masks, self.camera_of_image, self.camera_of_text = masks, camera_of_image, camera_of_text
        self.camera_types, self.elements, self.shots = camera_types, elements, shots


class ImageModel:
    """
    What is documented of a model for pictures.

    :param units: List price in units per picture, of text and of a picture; None where no list in force has it.
    :param of_text: Resolutions of a picture made from text; empty where it makes none.
    :param of_image: Resolutions of a picture made from another.
    :param references: Whether it takes ``image_reference``.
    :param fidelity: Whether it takes ``image_fidelity`` and ``human_fidelity``.
    :param elements: Whether it takes ``element_list``.
    :param aspects: Ratios of width to height.
    """

    def __init__(
        self,
        units: tuple[float, float] | None = None,
        *,
        of_text: tuple[str, ...] = RESOLUTIONS,
        of_image: tuple[str, ...] = RESOLUTIONS,
        references: bool = False,
        fidelity: bool = True,
        elements: bool = True,
        aspects: tuple[str, ...] = IMAGE_ASPECTS,
    ) -> None:
        self.units, self.of_text, self.of_image = units, of_text, of_image
        self.references, self.fidelity, self.elements = references, fidelity, elements
        self.aspects = aspects


_ONLY_IMAGE = (IMAGE_TO_VIDEO,)

#: Prices are those of the list in US dollars per second, divided by 0.14.
VIDEO_MODELS: dict[str, VideoModel] = {
    "kling-v1": VideoModel(
        {STD: 0.2, PRO: 0.7}, cfg_scale=True, tail=_ANY_5, masks=_ANY_5, camera_of_image=_STD_5, camera_of_text=_STD_5
    ),
    "kling-v1-5": VideoModel(
        {STD: 0.4, PRO: 0.7},
        families=_ONLY_IMAGE,
        cfg_scale=True,
        tail=_PRO_ONLY,
        tail_alone=True,
        masks=_PRO_5,
        camera_of_image=_PRO_5,
        camera_types=("simple",),
    ),
    "kling-v1-6": VideoModel({STD: 0.4, PRO: 0.7}, cfg_scale=True, tail=_PRO_ONLY, tail_alone=True),
    "kling-v2-master": VideoModel({STD: 2.0, PRO: 2.0}),
    "kling-v2-1": VideoModel({STD: 0.4, PRO: 0.7}, families=_ONLY_IMAGE, tail=_PRO_ONLY, tail_alone=True),
    "kling-v2-1-master": VideoModel({STD: 2.0, PRO: 2.0}),
    "kling-v2-5-turbo": VideoModel({STD: 0.3, PRO: 0.5}, tail=_PRO_ONLY, elements=False),
    "kling-v2-6": VideoModel(
        {STD: 0.3, PRO: 0.5}, units_sound={PRO: 1.0}, units_voice={PRO: 1.2}, tail=_PRO_ONLY, elements=False
    ),
    "kling-v3": VideoModel(
        {STD: 0.6, PRO: 0.8, FOUR_K: 3.0},
        units_sound={STD: 0.9, PRO: 1.2, FOUR_K: 3.0},
        durations=_FROM_3_TO_15,
        cfg_scale=True,
        tail=_ANY_V3,
        tail_with_sound=True,
        shots=True,
    ),
}

IMAGE_MODELS: dict[str, ImageModel] = {
    "kling-v1": ImageModel(of_text=("1k",), of_image=("1k",), aspects=IMAGE_ASPECTS[:-1]),
    "kling-v1-5": ImageModel(of_text=("1k",), of_image=("1k",), references=True),
    "kling-v2": ImageModel(of_image=("1k",)),
    "kling-v2-new": ImageModel(of_text=()),
    "kling-v2-1": ImageModel((4.0, 8.0), references=True, elements=False),
    "kling-v3": ImageModel((8.0, 8.0), fidelity=False),
}

#: Units of a video extension by the mode of the clip that it extends, per call.
EXTENSION_UNITS: dict[str, float] = {STD: 2.0, PRO: 3.5}
EXTENSION_SECONDS = 5
"""The documents say four to five."""
MAX_EXTENDED_SECONDS = 180


# -- one field alone ---------------------------------------------------------------------------------------------------


Check: TypeAlias = Callable[[str, object], Any]
"""Takes a field's name and what was given for it, and returns that as the wire wants it."""


def _optional(check: Check) -> Check:
    """Return the check of a field that may be left out: None or an empty text is None."""
    return lambda field, value: None if value is None or value == "" else check(field, value)


def _choice(choices: tuple[str, ...]) -> Check:
    return _optional(lambda field, value: check_choice(field, value, choices))


def _plain(check: Callable[[object], Any]) -> Check:
    """Return a check that knows its field's name itself."""
    return lambda _, value: check(value)


def _check_text(field: str, value: object) -> str | None:
    return check_prompt(value, field)


@_optional
def _check_picture(field: str, value: object) -> str:
    return check_image(value, field)


@_optional
def _check_duration(field: str, value: object) -> int:
    """Return a clip's length in seconds; which of 3 to 15 are allowed is the model's business."""
    return check_whole_number(field, value, MIN_DURATION, MAX_DURATION, "seconds: most models make 5 or 10")


@_optional
def _check_share(field: str, value: object) -> float:
    number = number_of(value)
    if not 0 <= number <= 1:
        raise InputFault(field, value, "a number from 0 to 1", "correct it, or leave it out for Kling's default")
    return number + 0.0


def _check_sound(field: str, value: object) -> Any:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _choice(("on", "off"))(field, value)


@_optional
def _check_model_name(field: str, value: object) -> str:
    """Return a model's name; whether it is a known one is said by :func:`model_warnings`."""
    return _id_text(field, value, "a model's name", "e.g. kling-v2-6")


def check_video_id(field: str, value: object) -> str:
    """Return the id of a clip, as ``videos[].id`` of a task said it."""
    if value is None or value == "":
        raise InputFault(field, value, "given", "name the clip by the id of a task's output")
    return _id_text(field, value, "the id of a clip", "it is the id of a task's output, not the task's own id")


def check_index(field: str, value: object) -> int:
    """Return the position of an output among those of its task, from 0."""
    number = number_of(value)
    if not (0 <= number < math.inf and number == int(number)):
        raise InputFault(field, value, "a whole number from 0", "count the outputs of the other task from 0")
    return int(number)


def _check_camera(field: str, value: object) -> dict[str, Any] | None:
    """Return a ``camera_control``: a type, and with ``simple`` one movement other than 0 in its ``config``."""
    if not value:
        return None
    camera = _mapping(field, value, ("type", "config"))
    kind = check_choice(f"{field}.type", camera.get("type"), CAMERA_TYPES)
    config = camera.get("config")
    if kind != "simple":
        if config:
            raise InputFault(f"{field}.config", config, f"left out with {kind}", "only simple takes one")
        return {"type": kind}
    given = _mapping(f"{field}.config", config or {}, CAMERA_MOVES)
    moves = {move: number_of(amount) for move, amount in given.items()}
    for move, amount in moves.items():
        if not -MAX_CAMERA_MOVE <= amount <= MAX_CAMERA_MOVE:
            limit = f"a number from -{MAX_CAMERA_MOVE} to {MAX_CAMERA_MOVE}"
            raise InputFault(f"{field}.config.{move}", given[move], limit, "correct it")
    if sum(map(bool, moves.values())) != 1:
        limit = f"exactly one of {', '.join(CAMERA_MOVES)} other than 0"
        raise InputFault(f"{field}.config", config, limit, "choose one movement")
    return {"type": kind, "config": moves}


def check_masks(field: str, value: object, *, pictures: bool = True) -> list[dict[str, Any]] | None:
    """
    Return the ``dynamic_masks``: up to 6, each a picture and the 2 to 77 points of its way.

    :param pictures: Whether ``mask`` holds the picture itself, or only stands for it.
    """
    rows = _rows(field, value, MAX_MASKS, ("mask", "trajectories"))
    for row in rows or ():
        row["mask"] = _check_picture(f"{field}.mask", row.get("mask")) if pictures else row.get("mask")
        if not row["mask"]:
            raise InputFault(f"{field}.mask", row["mask"], "a URL or base64 text", "give the mask's picture")
        row["trajectories"] = _points(f"{field}.trajectories", row.get("trajectories"))
    return rows


def _check_shots(field: str, value: object) -> list[dict[str, Any]] | None:
    """Return the ``multi_prompt``: up to 6 shots, each with number, prompt (at most 512 characters) and seconds."""
    rows = _rows(field, value, MAX_SHOTS, ("index", "prompt", "duration"))
    for position, row in enumerate(rows or (), 1):
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not 0 < len(prompt) <= MAX_SHOT_PROMPT:
            limit = f"a text of 1 to {MAX_SHOT_PROMPT} characters"
            raise InputFault(f"{field}.prompt", prompt, limit, "say what that shot shows")
        index, seconds = row.get("index", position), row.get("duration")
        row["index"] = check_whole_number(f"{field}.index", index, 1, MAX_SHOTS, "count the shots")
        row["duration"] = str(check_whole_number(f"{field}.duration", seconds, 1, MAX_DURATION, "give seconds"))
    return rows


def _listed(most: int, key: str) -> Check:
    """Return the check of a list of ids, each in a mapping of one key."""

    def check(field: str, value: object) -> list[dict[str, Any]] | None:
        rows = _rows(field, value, most, (key,))
        for row in rows or ():
            ident = row.get(key)
            if isinstance(ident, bool) or not isinstance(ident, (int, str)) or ident in ("", 0):
                raise InputFault(f"{field}.{key}", ident, "an id", "take it from Kling's console or API")
        return rows

    return check


_COMMON: dict[str, Check] = {
    "model_name": _check_model_name,
    "prompt": _check_text,
    "negative_prompt": _check_text,
    "watermark": check_flag,
    "callback_url": _plain(check_callback_url),
    "external_task_id": _plain(check_external_task_id),
}
_VIDEO = _COMMON | {
    "mode": _choice(MODES),
    "duration": _check_duration,
    "sound": _check_sound,
    "cfg_scale": _check_share,
    "camera_control": _check_camera,
    "multi_shot": check_flag,
    "shot_type": _choice(SHOT_TYPES),
    "multi_prompt": _check_shots,
}

#: The fields of each family, and the check of each alone.
FIELDS: dict[str, dict[str, Check]] = {
    IMAGE_TO_VIDEO: _VIDEO
    | {
        "image": _check_picture,
        "image_tail": _check_picture,
        "static_mask": _check_picture,
        "dynamic_masks": check_masks,
        "element_list": _listed(MAX_VIDEO_ELEMENTS, "element_id"),
        "voice_list": _listed(MAX_VOICES, "voice_id"),
    },
    TEXT_TO_VIDEO: _VIDEO | {"aspect_ratio": _choice(VIDEO_ASPECTS)},
    VIDEO_EXTENSION: {name: check for name, check in _COMMON.items() if name != "model_name"}
    | {"video_id": check_video_id, "cfg_scale": _check_share},
    IMAGE_GENERATION: _COMMON
    | {
        "image": _check_picture,
        "image_reference": _choice(REFERENCES),
        "image_fidelity": _check_share,
        "human_fidelity": _check_share,
        "element_list": _listed(MAX_REFERENCES, "element_id"),
        "resolution": _choice(RESOLUTIONS),
        "aspect_ratio": _choice(IMAGE_ASPECTS),
        "n": _plain(check_n),
    },
}

PICTURE_FIELDS = ("image", "image_tail", "static_mask")
"""Fields that hold one picture each; ``dynamic_masks`` holds several."""


# -- fields together ---------------------------------------------------------------------------------------------------


Rule: TypeAlias = tuple[tuple[str, ...], Callable[[Mapping[str, Any], str, Any], None]]
"""
One documented contradiction: the fields that it looks at, and what raises where they contradict each other.

It is told the fields, what to call the model, and its row of the table; None for a model without one.
"""


def check_fields(family: str, fields: Mapping[str, object], *, pictures: bool = True) -> dict[str, Any]:
    """
    Return the fields, checked alone and together.

    A field that is missing is not known yet (a template, say), and so every rule that reads it is passed over; None
    means that it is not given.

    :param fields: By the names of the requests' parameters.
    :param pictures: Whether pictures are there themselves; otherwise only whether one is given counts, for an operator
        has paths and other tasks' manifests.
    :raises InputFault: naming field, value, limit and what to do.
    """
    checks = FIELDS[family]
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "dynamic_masks":
            found[name] = check_masks(name, value, pictures=pictures)
        elif name in PICTURE_FIELDS and not pictures:
            found[name] = value or None
        else:
            found[name] = checks[name](name, value)
    label = name = found.get("model_name") or ""
    if family == IMAGE_GENERATION:
        model: Any = IMAGE_MODELS.get(name)
    else:
        model = VIDEO_MODELS.get(name or DEFAULT_VIDEO_MODEL)
        label = name or f"{DEFAULT_VIDEO_MODEL} (the documented default)"
    for reads, check_rule in RULES[family]:
        if found.keys() >= set(reads):
            check_rule(found, label, model)
    return found


def check_any_fields(fields: object) -> dict[str, Any]:
    """
    Return the fields of a request of any family, which must be JSON, by the wire's names.

    :raises InputFault: for what is no JSON, and for fields that have a parameter.
    """
    found = check_json("fields", fields, ("callback_url", "external_task_id"))
    if found.get("n") is not None:
        found["n"] = check_n(found["n"])
    return found


def check_extra_fields(family: str, extra: object) -> dict[str, Any]:
    """
    Return further fields of a family's request, which must be JSON and have no parameter, by the wire's names.

    :raises InputFault: for what is no JSON, and for fields that have a parameter.
    """
    return check_json("extra_body", extra, {"watermark_info", *FIELDS[family]})


def model_warnings(family: str, model_name: str | None) -> tuple[str, ...]:
    """Return what is to be said of a model's name: that no document of the family lists it."""
    known = models_of(family)
    if model_name is None or not known or model_name in known:
        return ()
    warning = (
        f"model_name={model_name}: not among the models that are documented for {family} ({', '.join(known)}); "
        "it is sent as it is, and nothing that depends on the model is checked"
    )
    return (warning,)


def models_of(family: str) -> tuple[str, ...]:
    """Return the documented models of a family."""
    if family == IMAGE_GENERATION:
        return tuple(IMAGE_MODELS)
    return tuple(name for name, model in VIDEO_MODELS.items() if family in model.families)


def video_units(
    model_name: str | None, mode: str | None, duration: int | None, *, sound: bool = False, voices: bool = False
) -> float | None:
    """
    Return the list price of a clip in video units, None where no list has it.

    :param model_name: None for the documented default.
    :param mode: None for ``std``.
    :param duration: Seconds; None for 5.
    :param voices: Whether it speaks with voices of one's own.
    """
    model = VIDEO_MODELS.get(model_name or DEFAULT_VIDEO_MODEL)
    if model is None:
        return None
    prices = model.units_voice if voices else model.units_sound if sound else model.units
    per_second = prices.get(mode or DEFAULT_MODE)
    return None if per_second is None else round(per_second * (duration or DEFAULT_DURATION), 4)


def image_units(model_name: str | None, n: int, *, from_picture: bool) -> float | None:
    """
    Return the list price of generated pictures in image units, None where no list has it.

    :param model_name: None for the service's default, on which the documents disagree.
    :param from_picture: Whether they are made from another.
    """
    model = IMAGE_MODELS.get(model_name or "")
    return None if model is None or model.units is None else model.units[from_picture] * n


_SETTING = ("model_name", "mode", "duration")


def _one_of(field: str, of_model: str, unit: str = "") -> Rule:
    """Refuse a value that is not among those of the model."""

    def check(given: Mapping[str, Any], name: str, model: Any) -> None:
        if model and given[field] and given[field] not in (allowed := getattr(model, of_model)):
            limit = f"one of {', '.join(map(str, allowed))}{unit} with {name}"
            raise InputFault(field, given[field], limit, "correct it")

    return ("model_name", field), check


def _takes(of_model: str, advice: str, *fields: str, limit: str = "left out") -> Rule:
    """Refuse fields that the model does not take at all."""

    def check(given: Mapping[str, Any], name: str, model: Any) -> None:
        for field in fields:
            value = given[field]
            if model and value is not None and value is not False and not getattr(model, of_model):
                shown = "given" if isinstance(value, list) else value
                raise InputFault(field, shown, f"{limit} with {name}", advice)

    return ("model_name", *fields), check


def _takes_where(of_model: str, *fields: str) -> Rule:
    """Refuse fields in a mode or with a duration in which the model does not take them."""

    def check(given: Mapping[str, Any], name: str, model: Any) -> None:
        mode, duration = given["mode"] or DEFAULT_MODE, given["duration"] or DEFAULT_DURATION
        for field in fields:
            where: Where = getattr(model, of_model, _NOWHERE)
            if not model or not given[field] or duration in where.get(mode, ()):
                continue
            if not where:
                raise InputFault(field, "given", f"left out with {name}", "leave it out, or take another model")
            places = " or ".join(f"{mode} of {'/'.join(map(str, seconds))} s" for mode, seconds in where.items())
            limit = f"left out with {name} in mode {mode} of {duration} s"
            raise InputFault(field, "given", limit, f"it works in {places}")

    return (*_SETTING, *fields), check


def _needs(limit: str, advice: str, *fields: str) -> Rule:
    """Refuse that none of some fields is given."""

    def check(given: Mapping[str, Any], _: str, __: Any) -> None:
        if not any(given[field] for field in fields):
            raise InputFault(fields[0], None, limit, advice)

    return fields, check


def _sound_of_model(given: Mapping[str, Any], name: str, model: Any) -> None:
    if not model or given["sound"] != "on":
        return
    if not model.units_sound:
        advice = f"these make sound: {', '.join(name for name, row in VIDEO_MODELS.items() if row.units_sound)}"
        raise InputFault("sound", "on", f"off with {name}", advice)
    mode = given["mode"] or DEFAULT_MODE
    if mode not in model.units_sound:
        limit = f"off with {name} in mode {mode}"
        raise InputFault("sound", "on", limit, f"set mode to {' or '.join(model.units_sound)}")


def _tail_alone(given: Mapping[str, Any], name: str, model: Any) -> None:
    if model and model.tail and given["image_tail"] and not given["image"] and not model.tail_alone:
        raise InputFault("image", None, f"given with {name}", "it takes no last frame without a first one")


def _tail_silent(given: Mapping[str, Any], name: str, model: Any) -> None:
    if model and given["image_tail"] and given["sound"] == "on" and not model.tail_with_sound:
        raise InputFault("sound", "on", f"off with {name} beside image_tail", "such clips are silent")


def _camera_type(given: Mapping[str, Any], name: str, model: Any) -> None:
    kind = (given["camera_control"] or {}).get("type")
    if model and kind and kind not in model.camera_types:
        limit = f"{' or '.join(model.camera_types)} with {name}"
        raise InputFault("camera_control.type", kind, limit, "take that type")


def _one_control(given: Mapping[str, Any], _: str, __: Any) -> None:
    """Refuse more than one of last frame, motion brush and camera."""
    fields = ("image_tail", "static_mask", "dynamic_masks", "camera_control")
    used = [field for field in fields if given[field]]
    if len({"masks" if "mask" in field else field for field in used}) > 1:
        limit = "one of image_tail, masks and camera_control"
        raise InputFault(", ".join(used), "given together", limit, "keep one of them")


def _voices_need_sound(given: Mapping[str, Any], _: str, __: Any) -> None:
    if given["voice_list"] and given["sound"] != "on":
        raise InputFault("sound", given["sound"], "on beside voice_list", "set sound, or leave the voices out")


def _shots_together(given: Mapping[str, Any], _: str, __: Any) -> None:
    kind, shots = given["shot_type"], given["multi_prompt"]
    if not given["multi_shot"]:
        for field in ("shot_type", "multi_prompt"):
            if given[field]:
                raise InputFault(field, "given", "left out without multi_shot", "set multi_shot")
    elif kind is None:
        limit = f"{' or '.join(SHOT_TYPES)} beside multi_shot"
        raise InputFault("shot_type", None, limit, "say who divides the clip into shots")
    elif (kind == "customize") != bool(shots):
        limit = f"{'left out' if shots else 'given'} with shot_type {kind}"
        raise InputFault("multi_prompt", "given" if shots else None, limit, "customize takes it, intelligence does not")


def _negative_of_image(given: Mapping[str, Any], _: str, __: Any) -> None:
    if given["image"] and given["negative_prompt"]:
        raise InputFault("negative_prompt", "given", "left out beside image", "say it in the prompt")


def _beside_image(given: Mapping[str, Any], _: str, __: Any) -> None:
    for field in ("image_reference", "image_fidelity"):
        if given[field] is not None and not given["image"]:
            raise InputFault(field, given[field], "left out without image", "give the picture that it is about")


def _human_of_subject(given: Mapping[str, Any], _: str, __: Any) -> None:
    if given["human_fidelity"] is not None and given["image_reference"] != "subject":
        advice = "set image_reference to subject, or leave it out"
        raise InputFault("human_fidelity", given["human_fidelity"], "left out without that reference", advice)


def _reference_of_v1_5(given: Mapping[str, Any], name: str, _: Any) -> None:
    if name == "kling-v1-5" and given["image"] and not given["image_reference"]:
        limit = "subject or face beside image with kling-v1-5"
        raise InputFault("image_reference", None, limit, "say what of the picture counts")


def _image_elements(given: Mapping[str, Any], name: str, model: Any) -> None:
    elements = given["element_list"] or ()
    if model and elements and not model.elements:
        raise InputFault("element_list", "given", f"left out with {name}", _ELEMENTS_ADVICE)
    if len(elements) + bool(given["image"]) > MAX_REFERENCES:
        limit = f"at most {MAX_REFERENCES} together with image"
        raise InputFault("element_list", f"{len(elements)} elements", limit, "leave some out")


def _resolution_of_model(given: Mapping[str, Any], name: str, model: Any) -> None:
    if not model:
        return
    allowed = model.of_image if given["image"] else model.of_text
    if not allowed:
        raise InputFault("image", None, f"given with {name}", "it makes no picture from text alone")
    if given["resolution"] and given["resolution"] not in allowed:
        raise InputFault("resolution", given["resolution"], f"{' or '.join(allowed)} with {name}", "correct it")


_ELEMENTS_ADVICE = "kling-v3 takes elements"
_VIDEO_RULES: tuple[Rule, ...] = (
    _one_of("mode", "units"),
    _one_of("duration", "durations", " seconds"),
    (("model_name", "mode", "sound"), _sound_of_model),
    _takes("cfg_scale", "no model of version 2 takes it", "cfg_scale"),
    _takes("shots", "kling-v3 makes several shots", "multi_shot", limit="off"),
    (("multi_shot", "shot_type", "multi_prompt"), _shots_together),
)

#: The contradictions of each family, in the order in which they are looked for.
RULES: dict[str, tuple[Rule, ...]] = {
    IMAGE_TO_VIDEO: (
        _needs("given, or image_tail", "give the clip's first or last frame", "image", "image_tail"),
        *_VIDEO_RULES,
        (("image_tail", "static_mask", "dynamic_masks", "camera_control"), _one_control),
        _takes_where("tail", "image_tail"),
        (("model_name", "image", "image_tail"), _tail_alone),
        (("model_name", "image_tail", "sound"), _tail_silent),
        _takes_where("masks", "static_mask", "dynamic_masks"),
        _takes_where("camera_of_image", "camera_control"),
        ((*_SETTING, "camera_control"), _camera_type),
        _takes("elements", _ELEMENTS_ADVICE, "element_list"),
        (("voice_list", "sound"), _voices_need_sound),
    ),
    TEXT_TO_VIDEO: (
        _needs("given", "say what the clip shows", "prompt", "multi_prompt"),
        *_VIDEO_RULES,
        _takes_where("camera_of_text", "camera_control"),
    ),
    VIDEO_EXTENSION: (),
    IMAGE_GENERATION: (
        _needs("given", "say what the picture shows", "prompt"),
        (("image", "negative_prompt"), _negative_of_image),
        (("image", "image_reference", "image_fidelity"), _beside_image),
        (("human_fidelity", "image_reference"), _human_of_subject),
        _takes(
            "references",
            f"{' and '.join(name for name, row in IMAGE_MODELS.items() if row.references)} take it",
            "image_reference",
        ),
        (("model_name", "image", "image_reference"), _reference_of_v1_5),
        _takes("fidelity", "kling-v2-1 takes it", "image_fidelity", "human_fidelity"),
        (("model_name", "image", "element_list"), _image_elements),
        (("model_name", "image", "resolution"), _resolution_of_model),
        _one_of("aspect_ratio", "aspects"),
    ),
}


# -- helpers -----------------------------------------------------------------------------------------------------------


def _id_text(field: str, value: object, limit: str, advice: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID:
        raise InputFault(field, value, f"{limit}, at most {MAX_ID} characters", advice)
    return value.strip()


def _mapping(field: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(key in keys for key in value):
        raise InputFault(field, value, f"a mapping with {' and '.join(keys)}", "correct it")
    return dict(value)


def _rows(field: str, value: object, most: int, keys: tuple[str, ...]) -> list[dict[str, Any]] | None:
    if not value:
        return None
    if not isinstance(value, (list, tuple)) or len(value) > most:
        shown = f"{len(value)} of them" if isinstance(value, (list, tuple)) else value
        raise InputFault(field, shown, f"a list of at most {most}", "correct it")
    return [_mapping(field, row, keys) for row in value]


def _points(field: str, value: object) -> list[dict[str, float]]:
    if not isinstance(value, (list, tuple)) or not MIN_POINTS <= len(value) <= MAX_POINTS:
        raise InputFault(field, value, f"{MIN_POINTS} to {MAX_POINTS} points with x and y", "correct it")
    points = [_mapping(field, point, ("x", "y")) for point in value]
    for point in points:
        if not all(math.isfinite(number_of(point.get(axis))) for axis in ("x", "y")):
            raise InputFault(field, point, "a point with two numbers, x and y", "count pixels from the lower left")
    return points
