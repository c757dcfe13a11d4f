"""The ``airflow-kling plan`` command: what a reframing would take, as a table and a picture; sends nothing."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from airflow_kling.api.checks import DEFAULT_MAX_CROP, FITS, MAX_N
from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import check_whole, probe_picture, upright_size
from airflow_kling.media.preview import as_dict, as_text, preview_png
from airflow_kling.media.reframe import ANCHORS, Plan, Target

#: What a message calls a parameter of a DAG, for those who type.
_FIELDS = {"aspect_ratio": "--aspect", "image": "PHOTO"} | {
    name: f"--{name.replace('_', '-')}" for name in ("size", "anchor", "fit", "max_crop", "n")
}
_ADVICE = {"for_video=False": "--no-video", 'fit="crop"': "--fit crop", 'fit="auto"': "--fit auto"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Show how a picture would be reframed: its crop, the passes of expansion with their ratios, the estimated size "
        "and the price. Nothing is sent to Kling, and nothing is paid."
    )
    parser.add_argument("photo", metavar="PHOTO", help="a JPG or PNG")
    parser.add_argument("--aspect", metavar="RATIO", help="width to height: 16:9, 4:5, 2.39")
    parser.add_argument("--size", metavar="WxH", help="or the final size in pixels: 1920x1080")
    parser.add_argument(
        "--anchor",
        metavar="PLACE",
        default="center",
        help=f"where the picture sits: {', '.join(ANCHORS)}, or the subject's place in it: 0.3,0.5 (default: center)",
    )
    parser.add_argument(
        "--fit",
        default="auto",
        metavar="|".join(FITS),
        help="where one pass is not enough: a small crop, else passes; passes; a crop; an error (default: auto)",
    )
    parser.add_argument(
        "--max-crop",
        metavar="SHARE",
        default=str(DEFAULT_MAX_CROP),
        help="largest share of a dimension that auto cuts off (default: %(default)s)",
    )
    parser.add_argument("--n", metavar="N", default="1", help=f"number of final pictures, 1-{MAX_N} (default: 1)")
    parser.add_argument("--no-video", action="store_true", help="allow a result that no clip can be made of")
    parser.add_argument("--preview", metavar="FILE", help="also draw the plan into this PNG")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Print a plan; returns the exit code, 2 for bad input."""
    photo = Path(arguments.photo).expanduser()
    try:
        plan = _plan(photo, _target(arguments))
        preview = _draw(photo, plan, Path(arguments.preview).expanduser()) if arguments.preview else None
    except InputFault as fault:
        sys.stderr.write(f"{_told(fault)}\n")
        return 2
    sys.stdout.write(f"{_json(photo, plan, preview) if arguments.json else _table(plan, preview)}\n")
    return 0


def _table(plan: Plan, preview: Path | None) -> str:
    lines = [as_text(plan)]
    if preview:
        lines.append(f"{'preview':<9}{preview}")
    lines.append("Nothing was sent, and nothing was paid.")
    if plan.passes:
        lines.append("Sizes with a ~ are estimates, for Kling does not document them; every pass is planned again.")
    return "\n".join(lines)


def _json(photo: Path, plan: Plan, preview: Path | None) -> str:
    return json.dumps({"photo": str(photo), **as_dict(plan), "preview": str(preview) if preview else None}, indent=2)


def _told(fault: InputFault) -> str:
    advice = fault.advice
    for parameter, option in _ADVICE.items():
        advice = advice.replace(parameter, option)
    return str(InputFault(_FIELDS.get(fault.field, fault.field), fault.value, fault.limit, advice))


def _target(arguments: argparse.Namespace) -> Target:
    if (arguments.aspect is None) == (arguments.size is None):
        raise InputFault("--aspect, --size", "both" if arguments.size else "none", "one of them", "e.g. --aspect 16:9")
    return Target(
        aspect_ratio=arguments.aspect,
        size=arguments.size,
        anchor=arguments.anchor,
        fit=arguments.fit,
        max_crop=arguments.max_crop,
        n=arguments.n,
        for_video=not arguments.no_video,
    )


def _plan(photo: Path, target: Target) -> Plan:
    try:
        with photo.open("rb") as stream:
            size = upright_size(stream, photo.name)
            check_whole(stream, probe_picture(stream, photo.name).format, photo.name)
    except FileNotFoundError:
        raise InputFault("PHOTO", str(photo), "an existing file", "check the path") from None
    except OSError as error:
        raise InputFault("PHOTO", str(photo), f"a readable file ({error.strerror or error})", "name one") from None
    return target.plan(*size)


def _draw(photo: Path, plan: Plan, target: Path) -> Path:
    if target.exists() and target.samefile(photo):
        raise InputFault("--preview", str(target), "another file than the photo", "name a new one")
    try:
        with photo.open("rb") as stream:
            target.write_bytes(preview_png(stream, photo.name, plan))
    except OSError as error:
        raise InputFault("--preview", str(target), f"a writable file ({error.strerror or error})", "name one") from None
    return target
