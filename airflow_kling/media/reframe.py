"""Reframing: from "16:9, subject kept" to a crop and to passes of ratios that Kling takes; exact arithmetic, no Pillow.

Everything is decided in whole numbers. Ratios are counted in steps of 0.0001, the finest that is sent, and rounded
down, so that no pass ever exceeds three times the area. What rounding leaves undone, a last cut of a pixel or so takes
away (:attr:`Plan.trim`): from then on width and height are within one pixel of the wanted aspect.

How large Kling's pictures are is not documented ("1K"), so the sizes of a plan are estimates: each pass is planned
again from the picture that really came back. An operator does that with one loop::

    todo = plan(width, height, aspect_ratio="16:9")
    while True:
        picture = cut(picture, todo.crop)  # None: as it is
        if not todo.passes:
            break
        picture = bought(picture, todo.passes[0])
        todo = todo.after(*picture.size)
    picture = scaled(picture, todo.resize)  # None: as it is
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from airflow_kling.api.checks import DEFAULT_MAX_CROP, FITS, SIDES, check_choice, check_n
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION
from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import MIN_SIDE

MAX_PASSES = 4
#: Where the picture sits in the new canvas: the shares of new canvas on its left and above it, in halves.
ANCHORS: dict[str, tuple[int, int]] = {
    "center": (1, 1),
    "top": (1, 0),
    "bottom": (1, 2),
    "left": (0, 1),
    "right": (2, 1),
    "top-left": (0, 0),
    "top-right": (2, 0),
    "bottom-left": (0, 2),
    "bottom-right": (2, 2),
}

_STEP = 10_000
_TIMES = 3
_SHAPE = (5, 2)
#: How far a picture between two passes goes where the wanted aspect lies beyond 2.5:1: room for Kling's own rounding.
_HELD_SHAPE = (49, 20)
_NUMBER = r"\d{1,9}(?:\.\d{1,400})?"

AspectRatio: TypeAlias = str | int | float | Decimal | Fraction
Anchor: TypeAlias = str | tuple[float, float]
Sides: TypeAlias = tuple[float, float, float, float] | Mapping[str, float]
#: Left, top, right and bottom of a source in what was made of it, as shares of that; outside of 0 to 1 where it is cut.
Border: TypeAlias = tuple[float, float, float, float]


class Box(NamedTuple):
    """A part of a picture in its pixels, in Pillow's order; right and bottom are the first pixels beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


class Frame(NamedTuple):
    """A rectangle in pixels of the source, negative or beyond its size where there is new canvas; exact."""

    left: Fraction
    top: Fraction
    right: Fraction
    bottom: Fraction

    @property
    def width(self) -> Fraction:
        return self.right - self.left

    @property
    def height(self) -> Fraction:
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Pass:
    """
    One expansion, as it is ordered.

    :param up: New canvas above, as a multiple of the input's height, 0-2, four decimals; the other sides likewise.
    :param crop: What is cut out of the picture first, in its pixels; None for all of it.
    :param input: Width and height in pixels of what is sent; an estimate but for the first pass.
    :param output: Width and height in pixels of what would come back at the input's resolution; an estimate.
    :param n: Number of pictures ordered: one in every pass but the last, for only one is gone on with.
    """

    up: float
    down: float
    left: float
    right: float
    crop: Box | None
    input: tuple[int, int]
    output: tuple[int, int]
    n: int

    @property
    def ratios(self) -> dict[str, float]:
        return {side: getattr(self, side) for side in SIDES}

    @property
    def area(self) -> float:
        """How many times the input's area the output has."""
        up, down, left, right = _steps_of(self)
        return (_STEP + up + down) * (_STEP + left + right) / _STEP**2


class _Canvas(NamedTuple):
    """The wanted canvas: width and height in pixels, times a unit that makes them whole."""

    width: int
    height: int
    unit: int


class _Place(NamedTuple):
    """
    Where a picture sits along one axis: ``at / of``.

    It is the share of new canvas that comes before the picture, or, ``centred``, the point of the picture that
    belongs into the middle of the canvas.
    """

    at: int
    of: int
    centred: bool = False


_Places: TypeAlias = tuple[_Place, _Place]

_NO_VIDEO = "choose another, or say for_video=False where no clip follows"


class _Rest(NamedTuple):
    """A picture in pixels, what it shall become, and where it sits in that."""

    width: int
    height: int
    canvas: _Canvas
    places: _Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a picture shall become: exactly one of aspect ratio, size, pixels or ratios; checked on construction.

    :param aspect_ratio: Width to height: ``"16:9"``, ``"2.39"``, ``2.39``, ``Fraction(4, 5)``. The picture is kept
        whole, and new canvas comes along one axis.
    :param size: Width and height of the final picture in pixels. The picture keeps its own scale in it, or is scaled
        down to fit; the result is scaled to exactly this size (:attr:`Plan.resize`). ``(1920, 1080)``, ``"1920x1080"``.
    :param pixels: New canvas in pixels of the picture: (up, down, left, right), or a mapping of some of these.
    :param ratios: New canvas as multiples of the picture's height and width: (up, down, left, right), or a mapping.
    :param anchor: Where the picture sits in the new canvas (``"center"``, ``"top"``, ``"bottom-left"``, …), or the
        subject's x and y as fractions of the picture, ``(0.3, 0.5)`` or ``"0.3,0.5"``: new canvas is then added where
        it brings the subject nearest to the middle. What must be cropped is cut off by the same rule.
    :param fit: What to do where one pass (three times the area) is not enough. ``"auto"``: a crop of at most
        ``max_crop`` where that makes one pass enough, else passes; ``"passes"``: passes, without a crop; ``"crop"``: as
        much of a crop as one pass needs; ``"fail"``: an error.
    :param max_crop: Largest share of a dimension that ``"auto"`` cuts off, 0 to below 1.
    :param n: Number of final pictures, 1-9.
    :param for_video: Whether the result must be one that Kling makes clips from: 1:2.5 to 2.5:1, at least 300 px.
    :raises InputFault: for anything else, a subject outside the picture, or an aspect that no clip can have.
    """

    aspect_ratio: AspectRatio | None = None
    size: tuple[int, int] | str | None = None
    pixels: Sides | None = None
    ratios: Sides | None = None
    anchor: Anchor = "center"
    fit: str = "auto"
    max_crop: float = DEFAULT_MAX_CROP
    n: int = 1
    for_video: bool = True
    _kind: str = field(init=False, repr=False, compare=False)
    _wish: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    _places: _Places = field(init=False, repr=False, compare=False)
    _kept: Fraction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = [name for name in _READERS if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(_READERS)
            raise InputFault(names, " and ".join(given) or "none", "exactly one of them", "say what is wanted, once")
        kind = given[0]
        set_field = object.__setattr__
        set_field(self, "_kind", kind)
        set_field(self, "_wish", _READERS[kind](kind, getattr(self, kind)))
        set_field(self, "_places", _read_anchor(self.anchor))
        set_field(self, "fit", check_choice("fit", self.fit, FITS))
        set_field(self, "_kept", 1 - _read_share("max_crop", self.max_crop))
        set_field(self, "n", check_n(self.n))
        if kind in ("pixels", "ratios") and self._places != _read_anchor("center"):
            raise InputFault("anchor", self.anchor, f"left out beside {kind}", "they say where the picture sits")
        if self.for_video and kind in ("aspect_ratio", "size") and not _in_shape(*self._wish):
            raise self._fault("between 1:2.5 and 2.5:1, for a clip is made of it", _NO_VIDEO)
        if self.for_video and kind == "size" and min(self._wish) < MIN_SIDE:
            raise self._fault(f"at least {MIN_SIDE} px on each side, for a clip is made of it", _NO_VIDEO)

    @property
    def label(self) -> str:
        """What is wanted, in a few words."""
        return _LABELS[self._kind](getattr(self, self._kind), self._wish)

    def plan(self, width: int, height: int) -> Plan:
        """
        Return how a picture becomes this.

        :param width: Of the picture as it is seen, that is, turned as its EXIF data asks; pixels.
        :raises InputFault: where no number of passes, or none that ``fit`` allows, reaches it.
        """
        if min(width, height) < 1:
            raise InputFault("image", f"{width}x{height} px", "a picture", "give one with pixels")
        canvas, places = _CANVASES[self._kind](width, height, self._wish)
        *kept, canvas, budget = self._fitted(width, height, canvas)
        rest = _Rest(width, height, canvas, places or self._places)
        made = _planned(self, rest, (kept[0], kept[1]), budget, (width, height), _whole(width, height))
        if self.for_video and not _is_input(*made.final_size):
            shown = "{}x{}".format(*made.final_size)
            limit = f"a picture of at least {MIN_SIDE} px on each side and between 1:2.5 and 2.5:1, for a clip"
            raise self._fault(limit, f"it would be {shown} px; {_NO_VIDEO}")
        return made

    def _fitted(self, width: int, height: int, canvas: _Canvas) -> tuple[int, int, _Canvas, int]:
        """Return the size of what ``fit`` keeps of the picture, the canvas around that, and the number of passes."""
        needed = _needed(width, height, canvas)
        if needed == 0 or (needed == 1 and _is_input(width, height)):
            return width, height, canvas, needed
        if self.fit in ("auto", "crop"):
            cut = _shrunk(*_shaped(width, height, canvas), _TIMES)
            if _is_input(*cut[:2]) and (self.fit == "crop" or self._keeps_enough(canvas, cut[2])):
                return *cut, 1
            if self.fit == "crop":
                return *_inside(width, height, canvas), canvas, 0
        if self.fit in ("auto", "passes"):
            cut = _shaped(width, height, canvas) if self.fit == "auto" else (width, height, canvas)
            if _is_input(*cut[:2]) and self._keeps_enough(canvas, cut[2]):
                return *cut, self._reached(*cut)
        if _is_input(width, height):
            raise self._fault(
                f"at most {_TIMES} times the area of {width}x{height} px in one pass",
                f'this is {_area(width, height, canvas):.4g} times; say fit="auto", "passes" or "crop"',
            )
        limit = f"at least {MIN_SIDE} px on each side and between 1:2.5 and 2.5:1: Kling expands no other"
        raise InputFault("image", f"{width}x{height} px", limit, 'crop or enlarge it, or say fit="crop"')

    def _keeps_enough(self, before: _Canvas, after: _Canvas) -> bool:
        # Both have one shape, and one of the canvas's dimensions is the picture's own where an aspect ratio is wanted.
        return after.height * before.unit >= self._kept * before.height * after.unit

    def _reached(self, width: int, height: int, canvas: _Canvas) -> int:
        needed = _needed(width, height, canvas)
        longer, shorter = max(canvas[:2]), min(canvas[:2])
        if needed > MAX_PASSES or (needed > 1 and longer * _HELD_SHAPE[1] > _TIMES * shorter * _HELD_SHAPE[0]):
            raise self._fault(
                f"within reach of {MAX_PASSES} passes, each of three times the area and from 2.5:1 at most",
                f"this is {_area(width, height, canvas):.4g} times the area of {width}x{height} px; ask for less",
            )
        return needed

    def _fault(self, limit: str, advice: str) -> InputFault:
        return InputFault(self._kind, self.label, limit, advice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is to be done with a picture: cut :attr:`crop`, order :attr:`passes`, cut :attr:`trim`, scale to resize.

    After each pass :meth:`after` gives the plan for the rest, from the picture that came back.

    :param source: Width and height in pixels of the picture that all began with.
    :param present: Width and height in pixels of the picture that this plan begins with.
    :param view: What the present picture shows, in pixels of the source.
    :param final_size: Width and height in pixels of the final picture: an estimate as long as there are passes, unless
        a ``size`` was asked for.
    """

    target: Target
    source: tuple[int, int]
    present: tuple[int, int]
    view: Frame = field(repr=False)
    passes: tuple[Pass, ...]
    final_size: tuple[int, int]
    _last_cut: Box | None = field(repr=False)
    _rest: _Rest = field(repr=False)

    @property
    def crop(self) -> Box | None:
        """What is cut out of the present picture before the next pass, or, where none is left, at the end."""
        return self.passes[0].crop if self.passes else self._last_cut

    @property
    def trim(self) -> Box | None:
        """What is cut out of the last pass's result; an estimate, for :meth:`after` tells it from the real one."""
        return self._last_cut if self.passes else None

    @property
    def resize(self) -> tuple[int, int] | None:
        """The size in pixels that the final picture is scaled to, where a ``size`` was asked for."""
        return self.final_size if self.target.size is not None else None

    @property
    def pictures(self) -> int:
        """How many pictures are ordered, in all passes."""
        return sum(each.n for each in self.passes)

    @property
    def units(self) -> float:
        """List price of the passes in resource units."""
        return self.pictures * (FAMILIES[IMAGE_EXPANSION].units_per_output or 0.0)

    @property
    def usd(self) -> float:
        """List price of the passes in US dollars, as Kling itself asks it."""
        return FAMILIES[IMAGE_EXPANSION].usd(self.units)

    @property
    def lost(self) -> float:
        """Share of the source's area that the final picture does not show, 0 to 1."""
        kept = _common(self.frame, self.source)
        return float(1 - kept.width * kept.height / (self.source[0] * self.source[1]))

    @property
    def frames(self) -> tuple[Frame, ...]:
        """
        What is shown, in pixels of the source: by the picture cut for the first pass, after each pass, at the end.

        A plan without passes has the last one only.
        """
        frame, size, frames = self.view, self.present, []
        for each in self.passes:
            frame = _part(frame, size, each.crop)
            frames.append(frame)
            frame, size = _grown(frame, each), each.output
        if self.passes:
            frames.append(frame)
        return *frames, _part(frame, size, self._last_cut)

    @property
    def frame(self) -> Frame:
        """The final picture in pixels of the source: the source is pasted at ``-left, -top`` of it to be preserved."""
        return self.frames[-1]

    @property
    def aspect(self) -> Fraction:
        """Width to height of the final picture, exact; in whole pixels it has that to within one."""
        return Fraction(self._rest.canvas.width, self._rest.canvas.height)

    @property
    def kept(self) -> Box:
        """What the final picture shows of the source, in pixels of the source."""
        left, top, right, bottom = _common(self.frame, self.source)
        return Box(round(left), round(top), round(right), round(bottom))

    @property
    def original(self) -> Box:
        """Where that is in the final picture, in the final picture's pixels."""
        shares = _shares(_common(self.frame, self.source), self.frame)
        left, top, right, bottom = (
            round(share * length) for share, length in zip(shares, self.final_size * 2, strict=True)
        )
        return Box(left, top, right, bottom)

    @property
    def border(self) -> Border:
        """Where the source lies in the final picture."""
        return _border(_shares(_whole(*self.source), self.frame))

    def after(self, width: int, height: int) -> Plan:
        """
        Return the plan for what is left once the first pass came back.

        It never orders more passes than this plan has left: where the picture is not quite what was ordered, what one
        pass too few cannot reach is cut off (:attr:`lost` tells how much).

        :param width: Of the picture that came back, pixels; whatever its resolution.
        :raises InputFault: where it cannot be expanded again.
        """
        if not self.passes or min(width, height) < 1:
            raise ValueError(f"A picture of {width}x{height} px came back, and {len(self.passes)} passes were left")
        done = self.passes[0]
        up, down, left, right = _steps_of(done)
        crop = done.crop or Box(0, 0, *self.present)
        places = (
            _moved(self._rest.places[0], self.present[0], crop.left, crop.right, left, right),
            _moved(self._rest.places[1], self.present[1], crop.top, crop.bottom, up, down),
        )
        rest = _Rest(width, height, _scaled(self._rest.canvas, done.output, width, height), places)
        budget = len(self.passes) - 1
        return _planned(self.target, rest, (width, height), budget, self.source, self.frames[1], came=True)


def plan(width: int, height: int, **target: Any) -> Plan:
    """
    Return how a picture becomes what is wanted.

    :param width: Of the picture as it is seen, that is, turned as its EXIF data asks; pixels.
    :param target: As of :class:`Target`.
    :raises InputFault: for a target that makes no sense, and where nothing that ``fit`` allows reaches it.
    """
    return Target(**target).plan(width, height)


def border_of_ratios(up: float, down: float, left: float, right: float) -> Border:
    """Return where a picture lies in what one expansion by these ratios makes of it, whatever its size."""
    wide, high = 1 + left + right, 1 + up + down
    return _border((left / wide, up / high, (1 + left) / wide, (1 + up) / high))


def _border(shares: Iterable[float | Fraction]) -> Border:
    left, top, right, bottom = (round(float(share), 6) + 0.0 for share in shares)
    return left, top, right, bottom


# --- planning ---------------------------------------------------------------------------------------------------------


def _planned(
    target: Target,
    rest: _Rest,
    kept: tuple[int, int],
    budget: int,
    source: tuple[int, int],
    view: Frame,
    *,
    came: bool = False,
) -> Plan:
    """Plan at most ``budget`` passes for a picture that is cut to the size ``kept`` (pixels) first."""
    present, first = (rest.width, rest.height), rest
    passes: list[Pass] = []
    while budget:
        # Without effect on what was fitted; it takes off what rounding, or Kling, left beyond reach.
        width, height, canvas = _shrunk(*_shaped(*kept, rest.canvas), _TIMES**budget)
        if not _needed(width, height, canvas):
            break
        if came or passes:
            # It is paid: what rounding, or Kling, put beyond the shape that it takes is cut off, and not refused.
            width, height = _taken(width, height)
        if not _is_input(width, height):
            limit = f"at least {MIN_SIDE} px on each side and between 1:2.5 and 2.5:1, to be expanded again"
            raise InputFault("image", f"a picture of {width}x{height} px", limit, "begin with a larger one")
        each, rest = _expanded(rest._replace(canvas=canvas), width, height)
        passes.append(each)
        kept, budget = each.output, budget - 1
    if passes:
        passes[-1] = replace(passes[-1], n=target.n)
    final = _inside(rest.width, rest.height, rest.canvas)
    return Plan(
        target=target,
        source=source,
        present=present,
        view=view,
        passes=tuple(passes),
        final_size=target._wish if target._kind == "size" else final,
        _last_cut=_cut(rest, final),
        _rest=first._replace(canvas=rest.canvas),
    )


def _expanded(rest: _Rest, width: int, height: int) -> tuple[Pass, _Rest]:
    """Return the next pass over a picture that is cut to that size (pixels), and what then is left."""
    crop = _cut(rest, (width, height))
    box = crop or Box(0, 0, width, height)
    wider, higher = _growth(width, height, rest.canvas, _needed(width, height, rest.canvas))
    # The point that belongs into the middle is told of the picture as it was before the cut.
    across = _moved(rest.places[0], rest.width, box.left, box.right, 0, 0)
    upright = _moved(rest.places[1], rest.height, box.top, box.bottom, 0, 0)
    left = _first_part(across, width, rest.canvas.width, rest.canvas.unit, wider)
    up = _first_part(upright, height, rest.canvas.height, rest.canvas.unit, higher)
    right, down = wider - left, higher - up
    output = (
        width + _pixels(left, width) + _pixels(right, width),
        height + _pixels(up, height) + _pixels(down, height),
    )
    each = Pass(up / _STEP, down / _STEP, left / _STEP, right / _STEP, crop, (width, height), output, 1)
    places = _moved(across, width, 0, width, left, right), _moved(upright, height, 0, height, up, down)
    return each, _Rest(*output, rest.canvas, places)


def _growth(width: int, height: int, canvas: _Canvas, passes: int) -> tuple[int, int]:
    """
    Return by how much the next of some passes grows a picture in width and in height, in steps.

    All passes grow it alike: that leaves each of them room below three times the area, should Kling round sizes.
    """
    wider = _share_of_growth(width, canvas.width, canvas.unit, passes)
    higher = _share_of_growth(height, canvas.height, canvas.unit, passes)
    if passes > 1 and not _in_shape(width * (_STEP + wider), height * (_STEP + higher)):
        if canvas.width > canvas.height:
            return _held_growth(width, height, canvas, passes)
        wider, higher = _held_growth(height, width, _Canvas(canvas.height, canvas.width, canvas.unit), passes)
        return higher, wider
    return wider, higher


def _share_of_growth(length: int, canvas: int, unit: int, passes: int) -> int:
    if not _is_short(length, canvas - length * unit, unit):
        return 0
    return _root(_STEP**passes * canvas // (length * unit), passes) - _STEP


def _held_growth(width: int, height: int, canvas: _Canvas, passes: int) -> tuple[int, int]:
    """The same for a canvas so wide that the next picture would be wider than 2.5:1: it grows higher instead."""
    most = _STEP * canvas.height // (height * canvas.unit)
    across, upright = _HELD_SHAPE
    # As much area as its share of all growth: (grown height / height) ** 2 = area ** (1/passes) * shape of the picture.
    area = canvas.width * canvas.height * (width * upright) ** passes * _STEP ** (2 * passes)
    grown = min(most, _root(area // (width * height * canvas.unit**2 * (height * across) ** passes), 2 * passes))
    return max(0, across * height * grown // (upright * width) - _STEP), max(0, grown - _STEP)


def _root(value: int, degree: int) -> int:
    """Return the whole part of a root."""
    if degree == 1:
        return value
    root = math.isqrt(value) if degree == 2 else round(value ** (1 / degree))
    while root**degree > value:
        root -= 1
    while (root + 1) ** degree <= value:
        root += 1
    return root


def _needed(width: int, height: int, canvas: _Canvas) -> int:
    """Return the least number of passes; none where a last cut of a pixel, or of a step, does as well."""
    wide, high = canvas.width - width * canvas.unit, canvas.height - height * canvas.unit
    is_wide, is_high = _is_short(width, wide, canvas.unit), _is_short(height, high, canvas.unit)
    cut = (wide * canvas.height, canvas.width) if is_wide else (high * canvas.width, canvas.height)
    if not (is_wide and is_high) and cut[0] <= cut[1] * canvas.unit:
        return 0
    area, reached, passes = canvas.width * canvas.height, width * height * canvas.unit**2, 0
    while reached < area:
        reached *= _TIMES
        passes += 1
    return max(1, passes) if is_wide or is_high else 0


def _is_short(length: int, missing: int, unit: int) -> bool:
    return missing >= unit and missing * _STEP >= length * unit


def _pixels(steps: int, length: int) -> int:
    return (2 * steps * length + _STEP) // (2 * _STEP)


def _steps_of(each: Pass) -> Iterator[int]:
    """Give up, down, left and right in steps."""
    return (round(ratio * _STEP) for ratio in each.ratios.values())


# --- cutting ----------------------------------------------------------------------------------------------------------


def _shrunk(width: int, height: int, canvas: _Canvas, times: int) -> tuple[int, int, _Canvas]:
    """
    Shrink the canvas, keeping its shape, until it has at most so many times the area of what it shows of the picture.

    Only where that is not enough does it become lower, or narrower, than the picture (pixels), which is cut then.

    :return: Width and height of what is left of the picture, and the canvas.
    """
    wide, high, unit = canvas
    own_wide, own_high = width * unit, height * unit
    if wide * high <= times * own_wide * own_high:
        return width, height, canvas
    if times * own_wide * high < own_high * wide:
        height = times * own_wide * high // (wide * unit)
    elif times * own_high * wide < own_wide * high:
        width = times * own_high * wide // (high * unit)
    else:
        root = math.isqrt(times * own_wide * own_high * wide * high)
        return width, height, _Canvas(root * wide, root * high, unit * wide * high)
    return width, height, _cover(width, height, wide, high)


def _shaped(width: int, height: int, canvas: _Canvas) -> tuple[int, int, _Canvas]:
    """Cut a picture that is narrower or wider than Kling takes, if a canvas of that shape allows it."""
    if _in_shape(width, height) or not _in_shape(*canvas[:2]):
        return width, height, canvas
    width, height = _taken(width, height)
    return width, height, _cover(width, height, *canvas[:2])


def _taken(width: int, height: int) -> tuple[int, int]:
    """Return the largest size within a picture (pixels) that Kling takes by its shape."""
    longer, shorter = _SHAPE
    return min(width, longer * height // shorter), min(height, longer * width // shorter)


def _inside(width: int, height: int, canvas: _Canvas) -> tuple[int, int]:
    """Return the largest size within a picture (pixels) that has the canvas's shape to a pixel, each way."""
    across, upright, _ = canvas
    if across >= upright:
        size = _inside_wide(width, height, across, upright)
    else:
        size = _inside_wide(height, width, upright, across)[::-1]
    # A picture of just the least size is not cut below it: there a pixel one way is near enough.
    is_least = min(size) < MIN_SIDE <= min(width, height)
    pixel = max(across, upright) if is_least else min(across, upright)
    is_near = abs(width * upright - height * across) <= pixel
    return (width, height) if is_near and (_in_shape(width, height) or not _in_shape(across, upright)) else size


def _inside_wide(width: int, height: int, across: int, upright: int) -> tuple[int, int]:
    height = max(1, min(height, (2 * width + 1) * upright // (2 * across)))
    return (2 * height * across + upright - 1) // (2 * upright), height  # a half goes down


def _cover(width: int, height: int, across: int, upright: int) -> _Canvas:
    """Return the smallest canvas of a shape that holds a picture (pixels)."""
    if width * upright <= height * across:
        return _Canvas(across * height, upright * height, upright)
    return _Canvas(across * width, upright * width, across)


def _scaled(canvas: _Canvas, expected: tuple[int, int], width: int, height: int) -> _Canvas:
    """Return the canvas at the resolution of the picture (pixels) that came back for the expected one."""
    candidates = [
        _Canvas(canvas.width * there, canvas.height * there, canvas.unit * here)
        for there, here in ((width, expected[0]), (height, expected[1]))
    ]
    holding = [each for each in candidates if each.width >= width * each.unit and each.height >= height * each.unit]
    if holding:
        return min(holding, key=lambda each: Fraction(each.width, each.unit))
    return _cover(width, height, *canvas[:2])


def _in_shape(width: int, height: int) -> bool:
    longer, shorter = _SHAPE
    return max(width, height) * shorter <= min(width, height) * longer


def _is_input(width: int, height: int) -> bool:
    return min(width, height) >= MIN_SIDE and _in_shape(width, height)


def _area(width: int, height: int, canvas: _Canvas) -> float:
    return canvas.width * canvas.height / (width * height * canvas.unit**2)


# --- placing ----------------------------------------------------------------------------------------------------------


def _space(place: _Place, length: int, canvas: int) -> int:
    """Return the space before a picture, times ``2 * place.of``; negative where the canvas is the smaller one."""
    if not place.centred:
        return 2 * place.at * (canvas - length)
    all_space = 2 * place.of * (canvas - length)
    wanted = place.of * canvas - 2 * place.at * length
    return min(max(wanted, min(0, all_space)), max(0, all_space))


def _first_part(place: _Place, length: int, canvas: int, unit: int, steps: int) -> int:
    """Return how many of the steps that a picture grows along an axis come before it."""
    missing = canvas - length * unit
    if not steps or missing <= 0:
        return 0
    return steps * _space(place, length * unit, canvas) // (2 * place.of * missing)


def _cut(rest: _Rest, size: tuple[int, int]) -> Box | None:
    """Return which part of that size (pixels) is cut out of a picture."""
    if size == (rest.width, rest.height):
        return None
    left = _start(rest.places[0], rest.width, size[0])
    top = _start(rest.places[1], rest.height, size[1])
    return Box(left, top, left + size[0], top + size[1])


def _start(place: _Place, length: int, kept: int) -> int:
    return (place.of - _space(place, length, kept)) // (2 * place.of)


def _moved(place: _Place, length: int, start: int, end: int, before: int, after: int) -> _Place:
    """Return a place as of the picture that is cut from start to end (pixels) and then grown by steps."""
    if not place.centred:
        return place
    kept = place.of * (end - start)
    at = place.at * length - start * place.of
    return _Place(before * kept + _STEP * at, kept * (_STEP + before + after), True)


def _part(frame: Frame, size: tuple[int, int], box: Box | None) -> Frame:
    """Return what a part of a picture of that size (pixels) shows, if the picture shows the frame."""
    if box is None:
        return frame
    across, down = frame.width / size[0], frame.height / size[1]
    return Frame(
        frame.left + box.left * across,
        frame.top + box.top * down,
        frame.left + box.right * across,
        frame.top + box.bottom * down,
    )


def _grown(frame: Frame, each: Pass) -> Frame:
    up, down, left, right = (Fraction(steps, _STEP) for steps in _steps_of(each))
    return Frame(
        frame.left - left * frame.width,
        frame.top - up * frame.height,
        frame.right + right * frame.width,
        frame.bottom + down * frame.height,
    )


def _common(frame: Frame, source: tuple[int, int]) -> Frame:
    whole = _whole(*source)
    return Frame(*map(max, whole[:2], frame[:2]), *map(min, whole[2:], frame[2:]))


def _whole(width: int, height: int) -> Frame:
    return Frame(Fraction(0), Fraction(0), Fraction(width), Fraction(height))


def _shares(part: Frame, frame: Frame) -> list[Fraction]:
    """Return left, top, right and bottom of a part as shares of a frame."""
    size = frame.width, frame.height
    return [(edge - start) / length for edge, start, length in zip(part, frame[:2] * 2, size * 2, strict=True)]


# --- reading what is wanted -------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _number_of(text: str) -> Fraction | None:
    return Fraction(text) if re.fullmatch(_NUMBER, text) else None


def _read_number(name: str, value: object, limit: str, advice: str) -> Fraction:
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool) and value >= 0:
        return Fraction(value)
    if isinstance(value, (str, float, Decimal)):
        # A float's shortest text is what its author meant: 2.39, and not 2.390000000000000124….
        number = _number_of(value.strip() if isinstance(value, str) else f"{Decimal(str(value)):f}")
        if number is not None:
            return number
    raise InputFault(name, value, limit, advice)


def _read_aspect(name: str, value: object) -> tuple[int, int]:
    limit, advice = "width to height", 'e.g. "16:9", "2.39" or 2.39'
    parts = re.split(r"[:/]", value) if isinstance(value, str) else [value]
    numbers = [_read_number(name, part, limit, advice) for part in parts]
    if len(numbers) > 2 or not all(numbers):
        raise InputFault(name, value, limit, advice)
    aspect = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    return aspect.numerator, aspect.denominator


def _read_size(name: str, value: object) -> tuple[int, int]:
    limit, advice = "width and height in pixels", 'e.g. (1920, 1080) or "1920x1080"'
    parts = re.split(r"[xX\u00d7]", value) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != 2:
        raise InputFault(name, value, limit, advice)
    width, height = (_read_number(name, part, limit, advice) for part in parts)
    if width < 1 or height < 1 or width.denominator != 1 or height.denominator != 1:
        raise InputFault(name, value, limit, advice)
    return int(width), int(height)


def _read_sides(name: str, value: object) -> tuple[Fraction, ...]:
    limit, advice = "(up, down, left, right), each 0 or more", f"e.g. {_SIDES_EXAMPLES[name]}"
    if isinstance(value, Mapping) and set(value) <= set(SIDES):
        value = tuple(value.get(side, 0) for side in SIDES)
    if not isinstance(value, (list, tuple)) or len(value) != len(SIDES):
        raise InputFault(name, value, limit, advice)
    numbers = tuple(_read_number(name, part, limit, advice) for part in value)
    if not any(numbers):
        raise InputFault(name, value, "above 0 on at least one side", "choose a side to expand")
    return numbers


def _read_pixels(name: str, value: object) -> tuple[Fraction, ...]:
    numbers = _read_sides(name, value)
    if any(number.denominator != 1 for number in numbers):
        raise InputFault(name, value, "whole numbers", f"e.g. {_SIDES_EXAMPLES[name]}")
    return numbers


def _read_anchor(anchor: object) -> _Places:
    if isinstance(anchor, str) and (named := ANCHORS.get(anchor.strip().lower().replace("_", "-"))):
        return _Place(named[0], 2), _Place(named[1], 2)
    parts = anchor.split(",") if isinstance(anchor, str) else anchor
    limit = f"one of {', '.join(ANCHORS)}, or the subject's x and y within the picture, each 0 to 1"
    advice = "e.g. (0.3, 0.5) for a subject left of the middle"
    if not isinstance(parts, (list, tuple)) or len(parts) != 2:
        raise InputFault("anchor", anchor, limit, advice)
    points = [_read_number("anchor", part, limit, advice) for part in parts]
    if max(points) > 1:
        raise InputFault("anchor", anchor, limit, advice)
    x, y = (_Place(point.numerator, point.denominator, True) for point in points)
    return x, y


def _read_share(name: str, value: object) -> Fraction:
    limit, advice = "a share from 0 to below 1", "e.g. 0.06 for 6 %"
    share = _read_number(name, value, limit, advice)
    if share >= 1:
        raise InputFault(name, value, limit, advice)
    return share


def _aspect_canvas(width: int, height: int, wish: tuple[int, int]) -> tuple[_Canvas, None]:
    return _cover(width, height, *wish), None


def _size_canvas(width: int, height: int, wish: tuple[int, int]) -> tuple[_Canvas, None]:
    fits = width <= wish[0] and height <= wish[1]
    return _Canvas(*wish, 1) if fits else _cover(width, height, *wish), None


def _pixels_canvas(width: int, height: int, wish: tuple[Fraction, ...]) -> tuple[_Canvas, _Places]:
    up, down, left, right = wish
    wide, high = width + left + right, height + up + down
    unit = math.lcm(wide.denominator, high.denominator)
    return _Canvas(int(wide * unit), int(high * unit), unit), (_share_of(left, right), _share_of(up, down))


def _ratios_canvas(width: int, height: int, wish: tuple[Fraction, ...]) -> tuple[_Canvas, _Places]:
    up, down, left, right = wish
    return _pixels_canvas(width, height, (up * height, down * height, left * width, right * width))


def _share_of(before: Fraction, after: Fraction) -> _Place:
    share = before / (before + after) if before + after else Fraction(1, 2)
    return _Place(share.numerator, share.denominator)


def _sides_label(unit: str) -> Callable[[Any, tuple[Fraction, ...]], str]:
    return lambda _, wish: (
        ", ".join(f"{side} {float(value):g}" for side, value in zip(SIDES, wish, strict=True) if value) + unit
    )


def _aspect_label(value: AspectRatio, _: object) -> str:
    return f"{value.numerator}:{value.denominator}" if isinstance(value, Fraction) else str(value).strip()


_SIDES_EXAMPLES = {"pixels": "(0, 0, 400, 400)", "ratios": "(0, 0, 0.5, 0.5)"}
_READERS: dict[str, Callable[[str, object], tuple[Any, ...]]] = {
    "aspect_ratio": _read_aspect,
    "size": _read_size,
    "pixels": _read_pixels,
    "ratios": _read_sides,
}
#: The wanted canvas, and where the picture sits in it if the wish itself says that.
_CANVASES: dict[str, Callable[[int, int, Any], tuple[_Canvas, _Places | None]]] = {
    "aspect_ratio": _aspect_canvas,
    "size": _size_canvas,
    "pixels": _pixels_canvas,
    "ratios": _ratios_canvas,
}
_LABELS: dict[str, Callable[[Any, Any], str]] = {
    "aspect_ratio": _aspect_label,
    "size": lambda _, wish: f"{wish[0]}x{wish[1]} px",
    "pixels": _sides_label(" px"),
    "ratios": _sides_label(""),
}
