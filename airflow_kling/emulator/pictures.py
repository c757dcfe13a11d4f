"""Pictures of the emulator: really expands a picture, draws the sample one, sets before and after side by side."""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

log = logging.getLogger(__name__)

Engine: TypeAlias = Literal["auto", "patchmatch", "reflect"]
Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]

SYNTHESIS_PIXELS = 120_000
"""Largest canvas, in pixels, that is synthesised; anything larger is scaled up from that."""

PATCH_RADIUS = 4
SOURCE_BAND = (0.12, 0.18)
"""Depth of the edge band that new canvas is made from, as a share of the shorter side: a deeper one clones subjects."""
MIN_BAND = 24
"""Least depth of that band in pixels: a shallower one is lost on PyPatchMatch's coarsest levels."""
MARGIN = 64
"""Pixels beyond that band which PyPatchMatch sees but does not copy: at the edge of what it sees it does worse."""
DARKEST = 16
"""What black is lifted to, of 255, while PyPatchMatch is at work."""
GUIDE_WEIGHT = (0.06, 0.12)
"""How strongly new canvas keeps to the level of its source: more keeps a horizon level, less lets a slope go on."""
BORDER_RING = 0.03
"""Depth of the outermost ring that a part of the band must share its colours with, as a share of the shorter side."""
BORDER_SEGMENTS = 10
"""Pieces of a side that are compared with the ring each for itself and its neighbours."""
COLOUR_STEP = 16

SEAM_ROWS = 4
"""How many rows of new canvas along the border are fitted to it each for itself."""
SEAM_BLUR = 6.0
"""What is broader than this many pixels, along the border, counts as a broad step."""

TILE = 8
"""Side of the tiles, in pixels of what is synthesised, that fine detail is copied in."""
TILE_STRIDE = 6
TILE_COMPONENTS = 32
TILE_ALIKE = 20.0
"""Mean difference, of 255, up to which two tiles are alike."""

_patchmatch_lock = threading.Lock()
"""PyPatchMatch keeps its seed for the whole process."""


@dataclass(frozen=True)
class _Frame:
    """A picture's size and the pixels added around it."""

    width: int
    height: int
    up: int
    down: int
    left: int
    right: int

    @property
    def canvas_width(self) -> int:
        return self.left + self.width + self.right

    @property
    def canvas_height(self) -> int:
        return self.up + self.height + self.down

    @property
    def picture(self) -> tuple[slice, slice]:
        return slice(self.up, self.up + self.height), slice(self.left, self.left + self.width)

    def distance(self) -> Floats:
        """Distance of every canvas pixel to the picture, 0 inside it, 1 for its neighbours."""
        rows = _overhang(self.height, self.up, self.down)
        columns = _overhang(self.width, self.left, self.right)
        return np.hypot(rows[:, None], columns[None, :]).astype(np.float32)


def expanded_size(
    width: int, height: int, up: float, down: float, left: float, right: float
) -> tuple[int, int, int, int]:
    """
    Tell how large an expanded picture is and where in it the original lies; the ratios are those of :func:`expand`.

    :return: new width, new height, x offset and y offset of the original, in pixels.
    """
    frame = _frame(width, height, up, down, left, right)
    return frame.canvas_width, frame.canvas_height, frame.left, frame.up


def expand(
    picture: Image.Image,
    up: float,
    down: float,
    left: float,
    right: float,
    *,
    seed: int = 0,
    engine: Engine = "auto",
) -> Image.Image:
    """
    Continue a picture beyond its edges; the original pixels stay untouched.

    :param picture: any Pillow mode (see :func:`to_rgb`); an EXIF orientation is the caller's business.
    :param up: canvas added above, as a multiple of the height, 0 or more.
    :param down: canvas added below, as a multiple of the height, 0 or more.
    :param left: canvas added on the left, as a multiple of the width, 0 or more.
    :param right: canvas added on the right, as a multiple of the width, 0 or more.
    :param seed: the same seed gives the same picture, another one a variant; any integer.
    :param engine: ``patchmatch`` needs PyPatchMatch and raises without it, ``reflect`` needs nothing, ``auto`` takes
        the first that works. A picture too thin for patches is always reflected.
    :return: RGB picture of the size that :func:`expanded_size` tells.
    """
    original = to_rgb(picture)
    frame = _frame(*original.size, up, down, left, right)
    if (frame.canvas_width, frame.canvas_height) == original.size:
        return original.copy()
    small_frame = _bounded(frame)
    small = original.resize((small_frame.width, small_frame.height), Image.Resampling.LANCZOS)
    synthesis = _synthesise(np.asarray(small), small_frame, seed, engine)
    filled = Image.fromarray(synthesis.canvas)
    canvas = _enlarge(original, small, filled, synthesis.sources, _Grid(frame, small_frame))
    _feather_reflection(canvas, original, frame, math.ceil(synthesis.feather * frame.width / small_frame.width))
    canvas.paste(original, (frame.left, frame.up))
    return canvas


def to_rgb(picture: Image.Image) -> Image.Image:
    """
    Convert a picture of any mode to 8-bit RGB: transparency goes onto white, 16 bits are scaled down to 8.

    :return: an RGB picture; the same object if it already was one.
    """
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _eight_bits(picture).convert("RGB")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.float32)
    # Pillow also hands out 8-bit values in its 32-bit modes; only a brighter pixel than those can have tells 16 bits.
    if picture.mode.startswith("I;16") or values.max() > 255:
        values /= 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


# --- geometry ---------------------------------------------------------------------------------------------------------


def _frame(width: int, height: int, up: float, down: float, left: float, right: float) -> _Frame:
    return _Frame(
        width,
        height,
        up=_added(up, height),
        down=_added(down, height),
        left=_added(left, width),
        right=_added(right, width),
    )


def _added(ratio: float, length: int) -> int:
    if ratio < 0:
        raise ValueError(f"An expansion ratio is 0 or more, not {ratio}")
    # In decimal, because 0.145 * 100 is 14.499999999999998 in binary.
    return int((Decimal(str(ratio)) * length).quantize(Decimal(1), ROUND_HALF_UP))


def _bounded(frame: _Frame) -> _Frame:
    """Shrink a frame to at most SYNTHESIS_PIXELS; a side that is expanded at all keeps at least one pixel."""
    scale = math.sqrt(SYNTHESIS_PIXELS / (frame.canvas_width * frame.canvas_height))
    if scale >= 1:
        return frame
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return _Frame(
        width,
        height,
        up=math.ceil(frame.up * height / frame.height),
        down=math.ceil(frame.down * height / frame.height),
        left=math.ceil(frame.left * width / frame.width),
        right=math.ceil(frame.right * width / frame.width),
    )


def _overhang(length: int, before: int, after: int) -> Floats:
    """How far every position of a canvas axis lies outside the picture; 0 inside."""
    position = np.arange(-before, length + after)
    return np.maximum(np.maximum(-position, position - (length - 1)), 0).astype(np.float32)


# --- synthesis at a bounded size --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Synthesis:
    """New canvas around a picture."""

    canvas: Pixels
    sources: Mask | None
    """Pixels of the picture that fine detail may be copied from; None if the canvas is blurred on purpose."""
    feather: float
    """Width of the plain reflection along the border, in pixels of the canvas."""


def _synthesise(picture: Pixels, frame: _Frame, seed: int, engine: Engine) -> _Synthesis:
    too_thin = min(frame.width, frame.height) < 2 * MIN_BAND
    if engine == "reflect" or too_thin:
        return _reflect(picture, frame, seed)
    try:
        return _patchmatch(picture, frame, seed)
    except Exception as error:
        if engine == "patchmatch":
            raise
        level = logging.DEBUG if isinstance(error, ImportError) else logging.WARNING
        log.log(level, "Expanding by reflection, for want of PyPatchMatch: %s", error)
        return _reflect(picture, frame, seed)


def _patchmatch(picture: Pixels, frame: _Frame, seed: int) -> _Synthesis:
    """Continue one side after the other: left and right, then the whole width up and down."""
    # Within one layout PyPatchMatch's own seed changes little: the variants of a picture come from the layout.
    random = np.random.default_rng(seed % 2**32)
    shorter = min(frame.width, frame.height)
    depth = max(MIN_BAND, round(shorter * random.uniform(*SOURCE_BAND)))
    ring = max(2, round(shorter * BORDER_RING))
    level = random.uniform(*GUIDE_WEIGHT)
    # Horizons are level, but what stands in a picture need not be upright.
    upright = level / 2
    canvas, sources = picture, np.zeros(picture.shape[:2], dtype=bool)
    quarter_turns = (3, frame.left, level), (1, frame.right, level), (0, frame.up, upright), (2, frame.down, upright)
    for turns, added, weight in quarter_turns:
        if added:
            turned = np.rot90(canvas, turns)
            usable = _of_border_colour(turned[:depth], ring)
            new = _continued_upwards(turned[: depth + MARGIN], usable, added, weight, seed)
            canvas = np.rot90(np.concatenate([new, turned]), -turns)
            turned_sources = np.pad(np.rot90(sources, turns), ((added, 0), (0, 0)))
            turned_sources[added : added + len(usable)] |= usable
            sources = np.rot90(turned_sources, -turns)
    return _Synthesis(np.ascontiguousarray(canvas), sources[frame.picture], feather=1.5)


def _of_border_colour(band: Pixels, ring: int) -> Mask:
    """Tell the pixels of a band whose colour occurs in its first rows nearby: that leaves out a subject, not a sky."""
    blurred = Image.fromarray(band).filter(ImageFilter.GaussianBlur(1))
    # One step is added, so that a neighbour in colour never wraps around.
    colours = (np.asarray(blurred) // COLOUR_STEP).astype(np.intp) + 1
    bounds = np.linspace(0, band.shape[1], BORDER_SEGMENTS + 1).round().astype(int)
    found = np.zeros(band.shape[:2], dtype=bool)
    for number in range(BORDER_SEGMENTS):
        nearby = slice(bounds[max(number - 1, 0)], bounds[min(number + 2, BORDER_SEGMENTS)])
        segment = slice(bounds[number], bounds[number + 1])
        known = _colour_table(colours[:ring, nearby])
        found[:, segment] = known[tuple(np.moveaxis(colours[:, segment], -1, 0))]
    # Speckles are too small to copy a patch from, and holes of their size cost the patches around them.
    cleaned = np.array(Image.fromarray(_to_bytes(found * 255.0)).filter(ImageFilter.MedianFilter(7))) > 0
    cleaned[:ring] = True
    return cleaned


def _colour_table(colours: NDArray[np.intp]) -> Mask:
    steps = 256 // COLOUR_STEP + 2
    table = np.zeros((steps, steps, steps), dtype=bool)
    table[tuple(colours.reshape(-1, 3).T)] = True
    for axis in range(3):
        table |= np.roll(table, 1, axis) | np.roll(table, -1, axis)
    return table


def _continued_upwards(band: Pixels, usable: Mask, added: int, weight: float, seed: int) -> Pixels:
    """The rows above a band, copied from what is usable of it."""
    height, width = added + len(band), band.shape[1]
    canvas = np.pad(band, ((added, 0), (0, 0), (0, 0)), mode="edge")
    hole = np.zeros((height, width), dtype=bool)
    hole[:added] = True
    ignored = ~hole
    ignored[added : added + len(usable)] = ~usable
    # Coordinates in which a copy should not be far from its source: only how far along the side it lies.
    guide = np.zeros((height, width, 3), dtype=np.float32)
    guide[..., 0] = np.linspace(0, 0.5, width)
    filled, missing = _copy_patches(canvas, hole, ignored, guide, weight, seed)
    if missing.any():
        stand_in = _reflect(band, _Frame(width, len(band), up=added, down=0, left=0, right=0), seed)
        filled[missing] = stand_in.canvas[missing]
    return _without_seam(filled[:added], band[0])


def _copy_patches(
    canvas: Pixels, hole: Mask, ignored: Mask, guide: Floats, weight: float, seed: int
) -> tuple[Pixels, Mask]:
    """Fill a hole from what is not ignored; tell what could not be filled."""
    import patchmatch

    # Nothing known stays quite dark, so that darkness tells the pixels that PyPatchMatch found too few patches for.
    scale = (255 - DARKEST) / 255
    lifted = _to_bytes(DARKEST + scale * canvas)
    with _patchmatch_lock:
        patchmatch.set_verbose(False)
        patchmatch.set_random_seed(seed)
        filled = patchmatch.inpaint_regularity(
            lifted, hole, guide, global_mask=ignored, patch_size=PATCH_RADIUS, guide_weight=weight
        )
        missing: Mask = hole & (filled < DARKEST / 2).any(axis=2)
        # The sources were too sparse for its coarsest levels: what is missing is copied from anywhere, new canvas too.
        if missing.any():
            filled = patchmatch.inpaint(filled, missing, patch_size=PATCH_RADIUS)
            missing &= (filled < DARKEST / 2).any(axis=2)
    return _to_bytes((filled.astype(np.float32) - DARKEST) / scale), missing


def _without_seam(new: Pixels, border: Pixels) -> Pixels:
    """Take the step to the border below off new rows: the broader a part of it, the slower that fades upwards."""
    distance = np.arange(len(new), 0, -1)
    # Each of the nearest rows has a step of its own: patches that overlap the border pull it towards the picture.
    sample = np.minimum(distance, min(SEAM_ROWS, len(new)))
    steps = border.astype(np.float32) - new[-min(SEAM_ROWS, len(new)) :][::-1]
    broad = np.stack([_smoothed(step, SEAM_BLUR) for step in steps])
    narrow = np.stack([_smoothed(step, 1) for step in steps]) - broad
    beyond = (distance - sample)[:, None, None]
    correction = broad[sample - 1] * np.exp(-beyond / (4 * SEAM_BLUR)) + narrow[sample - 1] * np.exp(
        -beyond / SEAM_BLUR
    )
    return _to_bytes(new + correction)


def _smoothed(line: Floats, sigma: float) -> Floats:
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(line, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(channel, kernel / kernel.sum(), mode="valid") for channel in padded.T], axis=1)


def _reflect(picture: Pixels, frame: _Frame, seed: int) -> _Synthesis:
    """Mirror the edge band outwards, ever more stretched, distorted and blurred, so that no second subject shows."""
    distance = frame.distance()
    shorter = min(frame.width, frame.height)
    random = np.random.default_rng(seed % 2**32)
    offsets = [_smooth_noise(random, distance.shape) * distance * 0.3 for _ in range(2)]
    depth = 0.15 * shorter
    rows = _softly_folded(frame.height, frame.up, frame.down, depth)[:, None] + offsets[0]
    columns = _softly_folded(frame.width, frame.left, frame.right, depth)[None, :] + offsets[1]
    reflection = Image.fromarray(picture[_mirrored(rows, frame.height), _mirrored(columns, frame.width)])
    canvas = np.asarray(reflection).astype(np.float32)
    for share in (0.006, 0.015, 0.035, 0.07):
        sigma = share * shorter
        blurred = np.asarray(reflection.filter(ImageFilter.GaussianBlur(sigma)))
        canvas += (blurred - canvas) * np.clip(distance / (2.5 * sigma) - 0.5, 0, 1)[..., None]
    return _Synthesis(_to_bytes(canvas), None, feather=6)


def _softly_folded(length: int, before: int, after: int, depth: float) -> Floats:
    """Like a mirror at the border, but never showing more than the depth."""
    position = np.arange(-before, length + after, dtype=np.float32)
    lead, tail = position < 0, position >= length
    position[lead] = depth * (1 - np.exp(position[lead] / depth))
    position[tail] = length - 1 - depth * (1 - np.exp((length - 1 - position[tail]) / depth))
    return position


def _smooth_noise(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    coarse = Image.fromarray(random.uniform(-1, 1, (5, 5)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _mirrored(position: Floats, length: int) -> NDArray[np.intp]:
    folded = np.floor(position).astype(np.intp) % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _to_bytes(values: Floats) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# --- the border at full size ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """A stretch of a canvas axis that mirrors (or is) a stretch of the picture."""

    start: int
    source: tuple[int, int]
    mirrored: bool
    distance: Floats


def _spans(length: int, before: int, after: int, reach: int) -> list[_Span]:
    lead, tail = min(reach, before, length), min(reach, after, length)
    spans = [
        _Span(before - lead, (0, lead), True, np.arange(lead, 0, -1, dtype=np.float32)),
        _Span(before, (0, length), False, np.zeros(length, dtype=np.float32)),
        _Span(before + length, (length - tail, length), True, np.arange(1, tail + 1, dtype=np.float32)),
    ]
    return [span for span in spans if span.distance.size]


def _feather_reflection(canvas: Image.Image, original: Image.Image, frame: _Frame, reach: int) -> None:
    """Fade a full-size reflection of the border into the new canvas, so that sharpness does not end at the border."""
    for rows in _spans(frame.height, frame.up, frame.down, reach):
        for columns in _spans(frame.width, frame.left, frame.right, reach):
            if not (rows.mirrored or columns.mirrored):
                continue
            piece = original.crop((columns.source[0], rows.source[0], columns.source[1], rows.source[1]))
            if rows.mirrored:
                piece = piece.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
            if columns.mirrored:
                piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            away = np.hypot(rows.distance[:, None], columns.distance[None, :])
            opacity = _to_bytes(255 * np.clip(1 - away / (reach + 1), 0, 1))
            canvas.paste(piece, (columns.start, rows.start), mask=Image.fromarray(opacity))


# --- enlargement ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """Where the pixels of the small canvas lie on the full-size one."""

    full: _Frame
    small: _Frame

    @property
    def x_scale(self) -> float:
        return self.full.width / self.small.width

    @property
    def y_scale(self) -> float:
        return self.full.height / self.small.height

    def x(self, column: int) -> int:
        return self.full.left + round((column - self.small.left) * self.x_scale)

    def y(self, row: int) -> int:
        return self.full.up + round((row - self.small.up) * self.y_scale)

    def scaled_up(self, canvas: Image.Image, top: int, bottom: int) -> Image.Image:
        """The rows from top to bottom of the full-size canvas, scaled up from the small one."""
        first = self.small.up + (top - self.full.up) / self.y_scale
        last = self.small.up + (bottom - self.full.up) / self.y_scale
        start = self.small.left - self.full.left / self.x_scale
        end = self.small.left + (self.full.canvas_width - self.full.left) / self.x_scale
        # Rounding must not push the box a hair over the edge: Pillow refuses that.
        box = (max(start, 0), max(first, 0), min(end, canvas.width), min(last, canvas.height))
        return canvas.resize((self.full.canvas_width, bottom - top), Image.Resampling.LANCZOS, box)


def _enlarge(
    original: Image.Image, small: Image.Image, filled: Image.Image, sources: Mask | None, grid: _Grid
) -> Image.Image:
    """Scale a filled canvas up; with sources, also put back the detail that the picture lost when it shrank."""
    height = grid.full.canvas_height
    if grid.full == grid.small:
        return filled
    if sources is None or min(small.size) < 2 * TILE:
        return grid.scaled_up(filled, 0, height)
    canvas = Image.new("RGB", (grid.full.canvas_width, height))
    top = 0
    for layer in _detail_layers(original, small, filled, sources, grid):
        coarse = grid.scaled_up(filled, top, top + layer.height)
        canvas.paste(ImageChops.add(coarse, layer, 1, -128), (0, top))
        top += layer.height
    return canvas


def _detail_layers(
    original: Image.Image, small: Image.Image, filled: Image.Image, sources: Mask, grid: _Grid
) -> Iterator[Image.Image]:
    """The detail of the full-size canvas around mid-grey, from top to bottom, in layers of one row of tiles each."""
    lost = ImageChops.subtract(original, small.resize(original.size, Image.Resampling.LANCZOS), 1, 128)
    rows = _tile_starts(grid.small.canvas_height)
    columns = _tile_starts(grid.small.canvas_width)
    matches = _match_tiles(np.asarray(filled), np.asarray(small), sources, grid.small, rows, columns)
    left_edges = [grid.x(column) for column in columns]
    top_edges = [grid.y(row) for row in rows]
    bounds = [0, *top_edges[1:], grid.full.canvas_height]
    above = None
    for number, row_of_matches in enumerate(matches):
        tiles = _tile_row(lost, row_of_matches, left_edges, grid)
        top, bottom = bounds[number], bounds[number + 1]
        layer = tiles.crop((0, top - top_edges[number], tiles.width, bottom - top_edges[number]))
        if above is not None:
            before = above.crop((0, top - top_edges[number - 1], tiles.width, bottom - top_edges[number - 1]))
            fade = _fade_in(bottom - top, round((TILE - TILE_STRIDE) * grid.y_scale))
            mask = Image.fromarray(np.repeat(fade[:, None], tiles.width, axis=1))
            layer = Image.composite(layer, before, mask)
        yield layer
        above = tiles


def _tile_row(lost: Image.Image, matches: NDArray[np.intp], left_edges: list[int], grid: _Grid) -> Image.Image:
    """Set one row of tiles, each faded into the one on its left."""
    width = min(math.ceil(TILE * grid.x_scale) + 1, lost.width)
    height = min(math.ceil(TILE * grid.y_scale) + 1, lost.height)
    fade = _fade_in(width, round((TILE - TILE_STRIDE) * grid.x_scale))
    mask = Image.fromarray(np.repeat(fade[None, :], height, axis=0))
    plain = Image.new("RGB", (width, height), (128, 128, 128))
    tiles = Image.new("RGB", (grid.full.canvas_width, height), (128, 128, 128))
    for (row, column), left_edge in zip(matches, left_edges, strict=True):
        x = min(round(column * grid.x_scale), lost.width - width)
        y = min(round(row * grid.y_scale), lost.height - height)
        tile = lost.crop((x, y, x + width, y + height)) if row >= 0 else plain
        tiles.paste(tile, (left_edge, 0), mask)
    return tiles


def _fade_in(length: int, reach: int) -> Pixels:
    return _to_bytes(255 * np.clip((np.arange(length, dtype=np.float32) + 0.5) / max(reach, 1), 0, 1))


def _tile_starts(length: int) -> list[int]:
    return [*range(0, length - TILE, TILE_STRIDE), length - TILE]


def _match_tiles(
    canvas: Pixels, picture: Pixels, sources: Mask, frame: _Frame, rows: list[int], columns: list[int]
) -> NDArray[np.intp]:
    """For every tile of the canvas the most similar tile of the sources, as row and column; -1 for none."""
    candidates = np.argwhere(sliding_window_view(sources, (TILE, TILE)).mean(axis=(2, 3)) >= 0.75)
    wanted = _touches_new_canvas(frame, rows, columns)
    matches = np.full((*wanted.shape, 2), -1, dtype=np.intp)
    if not len(candidates):
        return matches
    known = _tiles(picture, candidates)
    mean = known.mean(axis=0)
    axes = _principal_axes(known - mean)
    known = (known - mean) @ axes
    squares = (known**2).sum(axis=1)
    starts = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[wanted]
    asked = (_tiles(canvas, starts) - mean) @ axes
    # In blocks, because the table of all distances would be a gigabyte.
    nearest = [
        np.argmin(squares - 2 * block @ known.T, axis=1) for block in np.array_split(asked, 1 + len(asked) // 256)
    ]
    chosen = candidates[np.concatenate(nearest)]
    difference = _tiles(canvas, starts) - _tiles(picture, chosen)
    # The detail of a tile that is not alike would show as a ghost.
    chosen[np.sqrt((difference**2).mean(axis=1)) > TILE_ALIKE] = -1
    matches[wanted] = chosen
    return matches


def _touches_new_canvas(frame: _Frame, rows: list[int], columns: list[int]) -> Mask:
    inside_rows = [frame.up <= row <= frame.up + frame.height - TILE for row in rows]
    inside_columns = [frame.left <= column <= frame.left + frame.width - TILE for column in columns]
    return ~np.outer(inside_rows, inside_columns)


def _tiles(picture: Pixels, starts: NDArray[np.intp]) -> Floats:
    windows = sliding_window_view(picture, (TILE, TILE), axis=(0, 1))
    return windows[starts[:, 0], starts[:, 1]].reshape(len(starts), -1).astype(np.float32)


def _principal_axes(tiles: Floats) -> Floats:
    """The directions in which tiles differ most: comparing along these alone is six times faster and as good."""
    sample = tiles[:: 1 + len(tiles) // 4000]
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return vectors[:, -TILE_COMPONENTS:].astype(np.float32)


# --- the sample picture -----------------------------------------------------------------------------------------------

Colour: TypeAlias = tuple[int, int, int]

HORIZON = 0.60
SUN = (0.665, 0.448)
"""Across and down, as shares of the width and the height."""

SKY: tuple[tuple[float, Colour], ...] = (
    (0.00, (23, 25, 66)),
    (0.28, (62, 45, 108)),
    (0.52, (142, 70, 126)),
    (0.72, (228, 108, 104)),
    (0.88, (252, 164, 104)),
    (1.00, (255, 214, 150)),
)

FOREST_COLOUR: Colour = (22, 17, 44)
REED_COLOUR: Colour = (13, 11, 30)


@dataclass(frozen=True)
class _Ridge:
    """A range of hills: its lowest crest above the horizon and its rise, as shares of the height; coarsest humps."""

    base: float
    rise: float
    humps: int
    colour: Colour
    haze: Colour


RIDGES = (
    _Ridge(0.085, 0.090, 4, (190, 100, 122), (246, 160, 126)),
    _Ridge(0.050, 0.075, 5, (142, 74, 114), (220, 128, 122)),
    _Ridge(0.022, 0.062, 6, (96, 54, 102), (172, 94, 116)),
    _Ridge(0.004, 0.040, 8, (58, 37, 82), (116, 66, 102)),
)

HULL: tuple[Colour, tuple[tuple[float, float], ...]] = (
    (30, 20, 44),
    ((-1.25, -0.30), (1.35, -0.34), (0.95, 0.0), (-0.95, 0.0)),
)
MAST = (30, 20, 44), ((-0.03, -0.3), (-0.02, -3.55), (0.02, -3.55), (0.03, -0.3))
MAINSAIL = (255, 214, 176), ((0.12, -3.4), (1.15, -0.62), (0.12, -0.55))
JIB = (244, 176, 152), ((-0.12, -3.1), (-1.05, -0.62), (-0.12, -0.55))


def sample_picture(width: int = 960, height: int = 1200) -> Image.Image:
    """
    Draw a lake at sunset; at a given size always the same one.

    :param width: width in pixels, 100 or more.
    :param height: height in pixels, 100 or more.
    """
    random = np.random.default_rng(7)
    horizon = round(HORIZON * height)
    scene = np.zeros((height, width, 3), dtype=np.float32)
    scene[:horizon] = _sky(width, height, horizon, random)
    for ridge in RIDGES:
        _raise_ridge(scene, horizon, ridge, random)
    _lay_over(scene, _forest(width, height, horizon, random), FOREST_COLOUR)
    scene[horizon:] = _lake(scene[:horizon], height - horizon, random)
    _float_boat(scene, horizon)
    _lay_over(scene, _reeds(width, height, random), REED_COLOUR)
    grain = random.normal(0, 2, (height, width, 1)).astype(np.float32)
    return Image.fromarray(_to_bytes(scene + grain))


def _sky(width: int, height: int, horizon: int, random: np.random.Generator) -> Floats:
    shape = (horizon, width)
    rows = np.arange(horizon, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    down = rows / horizon
    positions, colours = zip(*SKY, strict=True)
    gradient = [np.interp(down[:, 0], positions, channel) for channel in zip(*colours, strict=True)]
    sky = np.repeat(np.stack(gradient, axis=-1).astype(np.float32)[:, None], width, axis=1)
    distance = np.hypot(rows - SUN[1] * height, columns - SUN[0] * width) / height
    shine = np.exp(-distance * 2.6)[..., None]

    stars = (random.random(shape, dtype=np.float32) > 0.9996) * np.clip(1 - rows / (0.32 * height), 0, 1)
    sky += (stars * random.random(shape, dtype=np.float32) * 200)[..., None]

    cover = _fractal_noise(shape, (7, 2), 5, random)
    density = _smoothstep(0.53, 0.80, cover) * (0.25 + 0.55 * _smoothstep(0.1, 0.7, down))
    sky += (_rgb(104, 58, 120) + shine * _rgb(150, 118, 10) - sky) * density[..., None]
    rim = _smoothstep(0.44, 0.52, cover) * (1 - _smoothstep(0.52, 0.62, cover))
    sky += rim[..., None] * shine * _rgb(70, 52, 34)

    glow = 0.85 * np.exp(-distance / 0.055) + 0.42 * np.exp(-distance / 0.22)
    sky += glow[..., None] * _rgb(150, 120, 70)
    disc = 1 - _smoothstep(0.044, 0.047, distance)
    sky += (_rgb(255, 246, 214) - sky) * disc[..., None]
    return sky


def _raise_ridge(scene: Floats, horizon: int, ridge: _Ridge, random: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    outline = _fractal_noise((1, width), (1, ridge.humps), 6, random)[0]
    outline = (outline - outline.min()) / (outline.max() - outline.min())
    crest = horizon - (ridge.base + ridge.rise * outline) * height
    top = int(crest.min()) - 1
    below = np.arange(top, horizon, dtype=np.float32)[:, None] - crest
    depth = np.clip(below / (0.11 * height), 0, 1)[..., None] ** 0.8
    shade = _rgb(*ridge.colour) + depth * (_rgb(*ridge.haze) - _rgb(*ridge.colour))
    scene[top:horizon] += (shade - scene[top:horizon]) * np.clip(below + 0.5, 0, 1)[..., None]


def _forest(width: int, height: int, horizon: int, random: np.random.Generator) -> Floats:
    """Conifers on two tongues of land that reach in from the sides, drawn twice as large to smooth their edges."""
    drawing = Image.new("L", (2 * width, 2 * height))
    pen = ImageDraw.Draw(drawing)
    shore = 2 * horizon
    for from_left, reach in ((True, 0.40), (False, 0.24)):
        edge = 0 if from_left else 2 * width
        inwards = 2 * width * reach * (1 if from_left else -1)
        # The ones further out are smaller, and are drawn first.
        for part in np.sort(0.95 * random.random(70) ** 1.25)[::-1]:
            tall = 2 * height * (0.018 + 0.085 * (1 - part) ** 1.3 * random.uniform(0.55, 1))
            _draw_conifer(pen, edge + inwards * part, shore - 0.012 * height * (1 - part), tall)
        pen.polygon([(edge, shore), (edge, shore - 0.022 * height), (edge + inwards, shore)], fill=255)
    return _smooth_mask(drawing, 2)


def _draw_conifer(pen: ImageDraw.ImageDraw, x: float, foot: float, tall: float) -> None:
    tiers = 7
    outline = []
    for tier in range(1, tiers + 1):
        spread = tall * 0.20 * (tier / tiers) ** 0.9
        level = foot - tall * (1 - tier / tiers)
        outline += [(spread, level), (0.45 * spread, level - 0.02 * tall)]
    left = [(x - spread, level) for spread, level in outline]
    right = [(x + spread, level) for spread, level in outline]
    pen.polygon([(x, foot - tall), *right, *reversed(left)], fill=255)


def _lake(above: Floats, depth: int, random: np.random.Generator) -> Floats:
    """Mirror what is above the shore in moving water."""
    horizon, width = above.shape[:2]
    shape = (depth, width)
    rows = np.arange(depth, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    near = rows / depth
    ripple = _fractal_noise(shape, (34, 3), 3, random) - 0.5
    swell = _fractal_noise(shape, (9, 2), 2, random) - 0.5
    waves = ripple * (0.25 + near) + 0.6 * swell * near
    mirrored_rows = horizon - 1 - 1.25 * rows - waves * 0.07 * horizon * (0.15 + near)
    mirrored_columns = columns + waves * 0.03 * width
    water: Floats = above[
        np.clip(mirrored_rows, 0, horizon - 1).astype(np.intp),
        np.clip(mirrored_columns, 0, width - 1).astype(np.intp),
    ]
    # The sun's disc would come out grey: it is far brighter than a picture can tell.
    water = np.minimum(water, _rgb(255, 206, 150)) * _rgb(0.82, 0.74, 0.82) * (1 - 0.30 * near[..., None])
    water += (_rgb(34, 30, 74) - water) * (0.10 + 0.35 * near**1.5)[..., None]

    path = np.exp(-(((columns / width - SUN[0]) / (0.035 + 0.10 * near)) ** 2)) * (1 - 0.55 * near)
    glint = _smoothstep(0.52, 0.66, _fractal_noise(shape, (60, 9), 2, random))
    water += (path * (0.18 + 0.82 * glint))[..., None] * _rgb(188, 132, 70)
    water += np.exp(-rows / (0.006 * depth))[..., None] * _rgb(26, 14, 6)
    return water


def _float_boat(scene: Floats, horizon: int) -> None:
    height, width = scene.shape[:2]
    unit = 0.034 * height
    # Only the boat's surroundings are drawn, four times as large to smooth its edges.
    top, left = round(horizon + 0.075 * height - 4 * unit), max(0, round(0.335 * width - 2 * unit))
    part = scene[top : top + round(8 * unit), left : left + round(4 * unit)]
    for colour, outline in (HULL, MAST, MAINSAIL, JIB):
        for upright, opacity, blur in ((-0.72, 0.5, 0.10), (1, 1.0, 0.0)):
            drawing = Image.new("L", (4 * part.shape[1], 4 * part.shape[0]))
            corners = [(4 * unit * (2 + x), 4 * unit * (4 + y * upright)) for x, y in outline]
            ImageDraw.Draw(drawing).polygon(corners, fill=255)
            _lay_over(part, opacity * _smooth_mask(drawing, 4, blur * unit), colour)


def _reeds(width: int, height: int, random: np.random.Generator) -> Floats:
    """Reeds on a bank in the two lower corners, drawn twice as large to smooth their edges."""
    drawing = Image.new("L", (2 * width, 2 * height))
    pen = ImageDraw.Draw(drawing)
    for _ in range(150):
        from_left = random.random() < 0.6
        part = random.random() ** 1.6
        x = 2 * width * (0.34 * part if from_left else 1 - 0.22 * part)
        tall = 2 * height * (0.03 + 0.13 * (1 - part) * random.random())
        lean = tall * random.normal(0.05 if from_left else -0.05, 0.14)
        stalk = [(x + lean * t**2.2, 2 * height - tall * t) for t in np.linspace(0, 1, 9)]
        pen.line(stalk, fill=255, width=max(2, round(height / 300)))
        if random.random() < 0.28:
            pen.line(stalk[-2:], fill=255, width=max(3, round(height / 95)))
    hollow = np.abs(np.linspace(-1.1, 0.9, 2 * width)) ** 3
    bank = hollow * (0.6 + 0.8 * _fractal_noise((1, 2 * width), (1, 6), 4, random)[0])
    pen.polygon([(0, 2 * height), *enumerate(2 * height * (1 - 0.055 * bank)), (2 * width, 2 * height)], fill=255)
    return _smooth_mask(drawing, 2)


def _rgb(red: float, green: float, blue: float) -> Floats:
    return np.array((red, green, blue), dtype=np.float32)


def _smoothstep(low: float, high: float, values: Floats) -> Floats:
    share: Floats = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _fractal_noise(shape: tuple[int, int], humps: tuple[int, int], octaves: int, random: np.random.Generator) -> Floats:
    """Noise about 0.5; humps are those of the coarsest octave, down and across."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        grid = random.random((humps[0] * 2**octave + 1, humps[1] * 2**octave + 1), dtype=np.float32)
        layer = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.5 ** (octave + 1)
    return total / (1 - 0.5**octaves)


def _smooth_mask(drawing: Image.Image, factor: int, blur: float = 0) -> Floats:
    reduced = drawing.reduce(factor).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(reduced).astype(np.float32) / 255


def _lay_over(scene: Floats, mask: Floats, colour: Colour) -> None:
    scene += (_rgb(*colour) - scene) * mask[..., None]


# --- before and after -------------------------------------------------------------------------------------------------

PAPER: Colour = (236, 236, 234)
INK: Colour = (58, 58, 62)
DASHES: tuple[Colour, Colour] = (255, 255, 255), (20, 20, 24)


def before_after(
    before: Image.Image, after: Image.Image, border: tuple[float, float, float, float], *, max_side: int = 2400
) -> Image.Image:
    """
    Set a picture and its expansion side by side, at the same scale, with the old border drawn into the new picture.

    :param border: where the original lies in the expanded picture: left, top, width and height in its pixels; may reach
        beyond it where a crop took something off.
    :param max_side: longest side of the comparison in pixels, 200 or more; it is never scaled up.
    """
    left, top, width, height = border
    natural = (width + after.width, max(height, after.height))
    # The margin also sets the size of what is written: on a small sheet as legible as on a large one.
    margin = max(14, round(0.025 * min(max_side, max(natural))))
    footer = round(1.6 * margin)
    scale = min(1, (max_side - 3 * margin) / natural[0], (max_side - margin - footer) / natural[1])
    small_before = _resized(before, width * scale, height * scale)
    small_after = _resized(after, after.width * scale, after.height * scale)
    tallest = max(small_before.height, small_after.height)
    size = (3 * margin + small_before.width + small_after.width, margin + tallest + footer)
    sheet = Image.new("RGB", size, PAPER)
    at_before = (margin, margin + (tallest - small_before.height) // 2)
    at_after = (2 * margin + small_before.width, margin + (tallest - small_after.height) // 2)
    # Drawn before it is pasted: a border that reaches beyond the new picture stays out of the margin.
    _draw_dashed_box(small_after, (round(left * scale), round(top * scale)), small_before.size, max(1, margin // 20))
    sheet.paste(small_before, at_before)
    sheet.paste(small_after, at_after)
    _write_caption(sheet, "before", before.size, at_before, small_before.size, margin)
    _write_caption(sheet, "after", after.size, at_after, small_after.size, margin)
    return sheet


def _resized(picture: Image.Image, width: float, height: float) -> Image.Image:
    # Rounded down, so that two of them stay within the longest side.
    return to_rgb(picture).resize((max(1, int(width)), max(1, int(height))), Image.Resampling.LANCZOS)


def _draw_dashed_box(sheet: Image.Image, corner: tuple[int, int], size: tuple[int, int], thickness: int) -> None:
    """Dashes of two tones in turn, so that the line shows on light and on dark."""
    pen = ImageDraw.Draw(sheet)
    x, y = corner
    dash = 6 * thickness
    for number, start in enumerate(range(0, size[0], dash)):
        stop = min(start + dash, size[0]) - 1
        for edge in (y, y + size[1] - thickness):
            pen.rectangle((x + start, edge, x + stop, edge + thickness - 1), fill=DASHES[number % 2])
    for number, start in enumerate(range(0, size[1], dash)):
        stop = min(start + dash, size[1]) - 1
        for edge in (x, x + size[0] - thickness):
            pen.rectangle((edge, y + start, edge + thickness - 1, y + stop), fill=DASHES[number % 2])


def _write_caption(
    sheet: Image.Image,
    word: str,
    pixels: tuple[int, int],
    corner: tuple[int, int],
    size: tuple[int, int],
    margin: int,
) -> None:
    """Write a picture's name and its true size below it, no wider than it is shown."""
    pen = ImageDraw.Draw(sheet)
    text = f"{word}   {pixels[0]} x {pixels[1]}"
    font_size = 0.62 * margin
    width = pen.textlength(text, ImageFont.load_default(font_size))
    font = ImageFont.load_default(max(6, font_size * min(1, size[0] / width)))
    pen.text((corner[0], corner[1] + size[1] + 0.7 * margin), text, fill=INK, font=font, anchor="lm")


# --- encoding ---------------------------------------------------------------------------------------------------------


def encode_png(image: Image.Image) -> bytes:
    """Encode a picture as PNG, for speed rather than size."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
