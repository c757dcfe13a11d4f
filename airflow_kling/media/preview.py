"""A plan as people see it: as a table, and as a picture that shows what would be new, cropped and kept."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import DAMAGED, on_white
from airflow_kling.media.reframe import Box, Frame, Pass, Plan

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_Color = tuple[int, int, int]
_Area = tuple[int, int, int, int]
_Tint = tuple[_Color, _Color, bool]

MAX_SIDE = 1200
_PAPER: _Color = (250, 249, 246)
_INK: _Color = (38, 38, 42)
_FAINT: _Color = (120, 120, 126)
#: Per pass: the tint of its new canvas, its lines, and whether these rise or fall.
_TINTS: tuple[_Tint, ...] = (
    ((228, 236, 247), (150, 178, 216), True),
    ((251, 238, 217), (228, 184, 122), False),
    ((227, 242, 227), (150, 198, 156), True),
    ((240, 230, 247), (188, 162, 210), False),
)
_VEILED: _Tint = ((226, 225, 222), (190, 190, 190), True)
_VEIL = 0.72
#: Everything is drawn this many times larger and then scaled down: Pillow's lines have steps.
_FINER = 2


# --- the table --------------------------------------------------------------------------------------------------------


def as_text(plan: Plan) -> str:
    """Return a plan, or what is left of one, as lines: crop, passes with their ratios, sizes, units and price."""
    about = "~" if plan.passes else ""
    lines = [
        f"picture  {_size(plan.present)}",
        f"target   {plan.target.label}, anchor {_anchor(plan)}, fit {plan.target.fit}",
        f"crop     {_crop(plan.crop, plan.present)}",
    ]
    if plan.passes:
        lines += ["", _row("pass", "up", "down", "left", "right", "area", "picture (estimate)")]
        lines += [_pass_row(number, each) for number, each in enumerate(plan.passes, 1)]
        lines.append("")
    if plan.trim:
        lines.append(f"trim     ~{_size(plan.trim.size)} of the last picture, for the aspect to a pixel")
    scaled = ", scaled to exactly this" if plan.resize else ""
    lines.append(f"result   {'' if plan.resize else about}{_size(plan.final_size)}{scaled}")
    lines.append(f"price    {_price(plan)}")
    return "\n".join(lines)


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan in JSON's types; boxes are (left, top, right, bottom) in pixels of the picture that they cut."""
    return {
        "target": plan.target.label,
        "picture": list(plan.present),
        "crop": _listed(plan.crop),
        "passes": [
            each.ratios
            | {
                "area": each.area,
                "crop": _listed(each.crop),
                "input": list(each.input),
                "output": list(each.output),
                "n": each.n,
            }
            for each in plan.passes
        ],
        "trim": _listed(plan.trim),
        "resize": _listed(plan.resize),
        "final_size": list(plan.final_size),
        "original": _listed(plan.original),
        "lost": round(plan.lost, 6),
        "estimated": bool(plan.passes),
        "units": plan.units,
        "usd": plan.usd,
    }


def _listed(numbers: tuple[int, ...] | None) -> list[int] | None:
    return list(numbers) if numbers else None


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} px"


def _anchor(plan: Plan) -> str:
    anchor = plan.target.anchor
    return anchor if isinstance(anchor, str) else ",".join(f"{float(part):g}" for part in anchor)


def _crop(crop: Box | None, present: tuple[int, int]) -> str:
    if crop is None:
        return "none"
    return f"{_size(crop.size)} from ({crop.left}, {crop.top}): {_cut_shares(crop, present)} cut off"


def _cut_shares(crop: Box, present: tuple[int, int]) -> str:
    return ", ".join(
        f"{f'{1 - kept / whole:.1%}' if (whole - kept) * 500 > whole else f'{whole - kept} px'} of the {name}"
        for kept, whole, name in zip(crop.size, present, ("width", "height"), strict=True)
        if kept < whole
    )


def _row(*cells: str) -> str:
    widths = (9, 8, 8, 8, 8, 7)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)) + cells[-1]


def _pass_row(number: int, each: Pass) -> str:
    sizes = f"{_size(each.input)} -> ~{_size(each.output)}"
    ratios = [f"{ratio:g}" for ratio in each.ratios.values()]
    return _row(str(number), *ratios, f"{each.area:.2f}x", sizes)


def _price(plan: Plan) -> str:
    if not plan.passes:
        return "nothing: no pass is needed"
    passes = f"{len(plan.passes)} pass{'es' if len(plan.passes) > 1 else ''}"
    wanted = f", {plan.target.n} pictures in the last" if plan.target.n > 1 else ""
    return f"{plan.units:g} units, ${plan.usd:.3f} at Kling's list price ({passes}{wanted})"


# --- the picture ------------------------------------------------------------------------------------------------------


def preview_png(stream: BinaryIO, name: str, plan: Plan) -> bytes:
    """
    Return the preview of a plan for a picture, as a PNG.

    :param stream: A seekable file with the picture.
    :param name: How messages call it.
    :param plan: Made for the picture's upright size.
    :raises InputFault: for a damaged picture.
    """
    from PIL import Image, ImageOps

    stream.seek(0)
    try:
        with Image.open(stream, formats=("JPEG", "PNG")) as image:
            image.draft("RGB", (MAX_SIDE * _FINER, MAX_SIDE * _FINER))
            photo = on_white(ImageOps.exif_transpose(image)).convert("RGB")
    except DAMAGED as error:
        if getattr(error, "errno", None):
            raise  # the storage's own error, not Pillow's
        raise InputFault("image", name, "an undamaged JPG or PNG", "copy or upload it again") from None
    target = io.BytesIO()
    preview(photo, plan).save(target, "PNG")
    return target.getvalue()


def preview(photo: Image.Image, plan: Plan, *, max_side: int = MAX_SIDE) -> Image.Image:
    """
    Draw a plan: the picture in its place, the new canvas hatched pass by pass, what is cropped off veiled.

    :param photo: The picture that the plan begins with, upright, of any resolution; RGB.
    :param plan: Made for it.
    :param max_side: Longest side of the drawing in pixels, 300 or more.
    :return: An RGB picture.
    """
    from PIL import Image, ImageDraw

    tags = _legend(plan)
    sheet_of = _Layout(plan, max_side * _FINER, len(tags))
    sheet = Image.new("RGB", sheet_of.size, _PAPER)
    final = sheet_of.area(plan.frame)
    _paint_canvas(sheet, [sheet_of.area(frame) for frame in plan.frames[: len(plan.passes) + 1]], sheet_of.thin)
    _paint_photo(sheet, photo, sheet_of.area(plan.view), final)
    pen = ImageDraw.Draw(sheet)
    for frame in plan.frames:
        pen.rectangle(sheet_of.area(frame), outline=_INK, width=sheet_of.thin)
    _crop_marks(pen, final, sheet_of.margin // 2, sheet_of.thin)
    for number, (tint, text) in enumerate(tags):
        _write(pen, tint, text, sheet_of.line_at(number))
    return sheet.resize((sheet.width // _FINER, sheet.height // _FINER), Image.Resampling.LANCZOS)


class _Layout:
    """Where things are on the sheet, in its pixels."""

    def __init__(self, plan: Plan, longest: int, lines: int) -> None:
        self.margin = longest // 30
        self.line = longest // 40
        self.thin = max(1, longest // 1200)
        view, frame = plan.view, plan.frame
        self._left, self._top = min(view.left, frame.left), min(view.top, frame.top)
        width, height = max(view.right, frame.right) - self._left, max(view.bottom, frame.bottom) - self._top
        below = 2 * self.margin + lines * self.line
        self._scale = min((longest - 2 * self.margin) / width, (longest - self.margin - below) / height)
        self._bottom = self.margin + round(height * self._scale)
        # As wide as the lines of text need, also below an upright picture.
        self.size = (max(round(width * self._scale) + 2 * self.margin, 3 * longest // 5), self._bottom + below)
        self._indent = (self.size[0] - round(width * self._scale)) // 2

    def area(self, frame: Frame) -> _Area:
        """Return a frame's left, top, right and bottom."""
        left, right = ((x - self._left) * self._scale + self._indent for x in (frame.left, frame.right))
        top, bottom = ((y - self._top) * self._scale + self.margin for y in (frame.top, frame.bottom))
        return round(left), round(top), round(right), round(bottom)

    def line_at(self, number: int) -> _Area:
        """Return the place of a line of text."""
        top = self._bottom + self.margin + number * self.line
        return self.margin, top, self.size[0] - self.margin, top + self.line


def _paint_canvas(sheet: Image.Image, areas: list[_Area], thin: int) -> None:
    """Hatch new canvas, the last pass's first, so that the ones before it lie upon it."""
    from PIL import Image, ImageDraw

    for number in range(len(areas) - 1, 0, -1):
        tint, stroke, rises = _tint(number)
        left, top, right, bottom = areas[number]
        width, height = right - left, bottom - top
        hatched = Image.new("RGB", (width, height), tint)
        pen = ImageDraw.Draw(hatched)
        for start in range(-height, width, 14 * thin):
            ends = (start, height, start + height, 0) if rises else (start, 0, start + height, height)
            pen.line(ends, fill=stroke, width=thin)
        sheet.paste(hatched, (left, top))


def _paint_photo(sheet: Image.Image, photo: Image.Image, area: _Area, final: _Area) -> None:
    from PIL import Image

    left, top, right, bottom = area
    placed = photo.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    veiled = Image.blend(placed, Image.new("RGB", placed.size, _PAPER), _VEIL)
    sheet.paste(veiled, (left, top))
    kept = max(left, final[0]), max(top, final[1]), min(right, final[2]), min(bottom, final[3])
    sheet.paste(placed.crop((kept[0] - left, kept[1] - top, kept[2] - left, kept[3] - top)), kept[:2])


def _crop_marks(pen: ImageDraw.ImageDraw, area: _Area, length: int, thin: int) -> None:
    gap = length // 3
    for x, outwards in ((area[0], -1), (area[2], 1)):
        for y, away in ((area[1], -1), (area[3], 1)):
            pen.line((x + outwards * gap, y, x + outwards * length, y), fill=_INK, width=thin)
            pen.line((x, y + away * gap, x, y + away * length), fill=_INK, width=thin)


def _write(pen: ImageDraw.ImageDraw, tint: _Tint | None, text: str, area: _Area) -> None:
    """Write a line into its place, behind a swatch where it explains one, and no wider than there is room."""
    left, top, right, bottom = area
    middle, size = (top + bottom) // 2, round(0.62 * (bottom - top))
    if tint:
        pen.rectangle((left, middle - size // 2, left + 2 * size, middle + size // 2), fill=tint[0], outline=tint[1])
        left += 3 * size
    width = pen.textlength(text, _font(size))
    font = _font(max(8, size * min(1, (right - left) / width)))
    pen.text((left, middle), text, fill=_FAINT if tint else _INK, font=font, anchor="lm")


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _tint(number: int) -> _Tint:
    return _TINTS[(number - 1) % len(_TINTS)]


def _legend(plan: Plan) -> list[tuple[_Tint | None, str]]:
    result = "" if plan.resize else f": {'~' if plan.passes else ''}{_size(plan.final_size)}"
    lines: list[tuple[_Tint | None, str]] = [
        (None, f"{_size(plan.present)} to {plan.target.label}{result}; {_price(plan)}")
    ]
    if plan.crop:
        lines.append((_VEILED, f"cropped: {_cut_shares(plan.crop, plan.present)}"))
    for number, each in enumerate(plan.passes, 1):
        ratios = ", ".join(f"{side} {ratio:g}" for side, ratio in each.ratios.items() if ratio)
        lines.append((_tint(number), f"pass {number}: {ratios} ({each.area:.2f} times the area)"))
    return lines
