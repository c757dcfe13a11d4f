"""Makes the outputs of accepted tasks: one maker per family, a worker thread, files in a temporary directory."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import logging
import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from airflow_kling.api.families import IMAGE_EXPANSION, OutputKind
from airflow_kling.api.rules import IMAGE_GENERATION, IMAGE_TO_VIDEO, TEXT_TO_VIDEO, VIDEO_EXTENSION
from airflow_kling.emulator import clips, pictures
from airflow_kling.emulator.orders import Job, MadeOutput, Order
from airflow_kling.emulator.state import CLIP_MARK, Accepted, EmulatorState

log = logging.getLogger(__name__)

WATERMARK = "KLING (emulated)"
CANNED_SIZE = (64, 64)
CANNED_FRAMES = 25
SIDE_OF_1K = 1024
"""Pixels: a generated picture of 1k has about the area of this square, one of 2k the fourfold."""
GOLDEN_TURN = 97
"""Steps of 256 between the hues of two seeds next to each other, so that they differ well."""
SEEDS_PER_TASK = 16
"""More than the nine outputs that a task can have, so that no two outputs share a seed."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """
    Where and how the outputs of one task are made.

    :param seed: Of the first output; the next ones count up.
    :param wanted: Tells whether anybody still waits for them.
    """

    directory: Path
    engine: pictures.Engine
    seed: int
    wanted: Callable[[], bool]


Maker = Callable[[Order, Job, Workplace], list[MadeOutput]]


def expand_pictures(order: Order, job: Job, place: Workplace) -> list[MadeOutput]:
    """Make the pictures of an image expansion."""
    upright = _upright(job.source)

    def draw(seed: int) -> Image.Image:
        return pictures.expand(upright, **job.options, seed=seed, engine=place.engine)

    return _save_pictures(draw, order, place)


def generate_pictures(order: Order, job: Job, place: Workplace) -> list[MadeOutput]:
    """Make the pictures of an image generation: the given one, or a drawn one, in hues that the prompt chooses."""
    size = _generated_size(job.options["aspect_ratio"], job.options["resolution"])
    given = pictures.to_rgb(_upright(job.source)) if job.source else None

    def draw(seed: int) -> Image.Image:
        plain = pictures.sample_picture(*size) if given is None else ImageOps.fit(given, size)
        return _in_other_hues(plain, order.prompt, seed)

    return _save_pictures(draw, order, place)


def film_picture(order: Order, job: Job, place: Workplace) -> list[MadeOutput]:
    """Make the clip of a picture."""
    picture = pictures.to_rgb(_upright(job.source))
    tail = None if job.tail is None else pictures.to_rgb(_upright(job.tail))
    size = clips.clip_size(*picture.size, order.mode)
    frames = clips.frame_count(job.options["seconds"])
    return _save_clip(lambda: clips.camera_move(picture, size, frames, seed=place.seed, tail=tail), order, place)


def film_text(order: Order, job: Job, place: Workplace) -> list[MadeOutput]:
    """Make the clip of a prompt: of a drawn picture, in hues that the prompt chooses."""
    across, down = map(int, job.options["aspect_ratio"].split(":"))
    size = clips.clip_size(across, down, order.mode)
    picture = _in_other_hues(pictures.sample_picture(*size), order.prompt, place.seed)
    frames = clips.frame_count(job.options["seconds"])
    return _save_clip(lambda: clips.camera_move(picture, size, frames, seed=place.seed), order, place)


def extend_clip(order: Order, job: Job, place: Workplace) -> list[MadeOutput]:
    """Make the clip of a video extension: the given one, and a move on from its last frame."""
    return _save_clip(lambda: clips.continued(job.source, job.options["seconds"], seed=place.seed), order, place)


#: Who makes the outputs of a family; a family needs a row here and in ``validation.CHECKS``.
MAKERS: dict[str, Maker] = {
    IMAGE_EXPANSION: expand_pictures,
    IMAGE_GENERATION: generate_pictures,
    IMAGE_TO_VIDEO: film_picture,
    TEXT_TO_VIDEO: film_text,
    VIDEO_EXTENSION: extend_clip,
}


class Studio:
    """Makes outputs in the background, one task after the other, and tells the state."""

    def __init__(self, state: EmulatorState) -> None:
        self._state = state
        self._directory = tempfile.TemporaryDirectory(prefix="airflow-kling-emulator-", ignore_cleanup_errors=True)
        self.root = Path(self._directory.name)
        self._closing = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="kling-emulator-studio")
        self._pending: set[Future[None]] = set()
        self._canned: dict[OutputKind, Path] = {}

    def start(self, accepted: Accepted, job: Job) -> None:
        """
        Begin to make the outputs of a task.

        :param job: What to make them of; large sources wait on disk.
        """
        order, task_id = accepted.task.order, accepted.task.task_id
        if self._state.settings.cans(order.family.kind):
            self._give_canned(task_id, order)
            return
        directory = self.root / task_id
        directory.mkdir()
        _store(job, directory)
        place = Workplace(
            directory,
            self._state.settings.engine,
            self._state.settings.seed + accepted.number * SEEDS_PER_TASK,
            functools.partial(self._is_wanted, task_id),
        )
        future = self._worker.submit(self._make, task_id, order, replace(job, source=b"", tail=None), place)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    def join(self, timeout: float) -> bool:
        """
        Wait until everything begun is made.

        :param timeout: Seconds to wait at most.
        :return: Whether it is.
        """
        return not wait(set(self._pending), timeout).not_done

    def discard(self) -> None:
        """Remove all files, after a reset."""
        for directory in self.root.iterdir():
            shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Stop making, and remove the files."""
        self._closing.set()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._directory.cleanup()

    def _is_wanted(self, task_id: str) -> bool:
        return not self._closing.is_set() and self._state.task(task_id) is not None

    def _make(self, task_id: str, order: Order, job: Job, place: Workplace) -> None:
        try:
            if place.wanted():
                outputs = MAKERS[order.family.name](order, _stored(job, place.directory), place)
                self._state.made(task_id, outputs)
        except clips.ClipsUnavailable as error:
            self._state.not_made(task_id, str(error))
        except Exception as error:
            if place.wanted():
                log.warning("Emulated task %s failed: %s", task_id, error, exc_info=True)
                self._state.not_made(task_id, f"The emulator could not make the outputs: {type(error).__name__}")

    def _give_canned(self, task_id: str, order: Order) -> None:
        try:
            path = self._canned_file(order.family.kind)
        except clips.ClipsUnavailable as error:
            self._state.not_made(task_id, str(error))
            return
        marked = path if order.watermark else None
        if order.family.kind is OutputKind.VIDEO:
            outputs = [_clip_output(task_id, CANNED_FRAMES, path, marked)]
        else:
            outputs = [_picture_output(index, path, marked) for index in range(order.n)]
        self._state.made(task_id, outputs)

    def _canned_file(self, kind: OutputKind) -> Path:
        path = self._canned.get(kind)
        if path is None:
            picture = Image.new("RGB", CANNED_SIZE, (120, 144, 156))
            if kind is OutputKind.VIDEO:
                path = self.root / "canned.mp4"
                clips.write_clip(path, itertools.repeat(picture, CANNED_FRAMES))
            else:
                path = self.root / "canned.png"
                path.write_bytes(pictures.encode_png(picture))
            self._canned[kind] = path
        return path


def _store(job: Job, directory: Path) -> None:
    """Keep what the outputs are made of on disk until their turn comes."""
    (directory / "source").write_bytes(job.source)
    if job.tail is not None:
        (directory / "tail").write_bytes(job.tail)


def _stored(job: Job, directory: Path) -> Job:
    """Return the job with what it is made of, which is removed from disk."""
    found: dict[str, bytes] = {}
    for path in (directory / "source", directory / "tail"):
        if path.exists():
            found[path.name] = path.read_bytes()
            path.unlink()
    return Job(found.get("source", b""), job.options, found.get("tail"))


def _upright(source: bytes) -> Image.Image:
    with Image.open(io.BytesIO(source)) as stored:
        upright = ImageOps.exif_transpose(stored)
        upright.load()
    return upright


def _generated_size(aspect_ratio: str, resolution: str) -> tuple[int, int]:
    """Return the size in pixels of a generated picture; the documents name its aspect ratio and "1k" or "2k" only."""
    across, down = map(int, aspect_ratio.split(":"))
    side = SIDE_OF_1K * int(resolution[0])
    width, height = side * math.sqrt(across / down), side * math.sqrt(down / across)
    return round(width / 16) * 16, round(height / 16) * 16


def _in_other_hues(picture: Image.Image, prompt: str | None, seed: int) -> Image.Image:
    """Return a picture whose hues are turned by as much as prompt and seed say."""
    turn = (hashlib.sha256((prompt or "").encode()).digest()[0] + GOLDEN_TURN * seed) % 256
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(step + turn) % 256 for step in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def add_watermark(picture: Image.Image) -> Image.Image:
    """Return a copy that says in its lower right corner that it is emulated."""
    marked = picture.convert("RGB")
    size = max(12, min(marked.size) // 24)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(marked)
    position = (marked.width - size // 2, marked.height - size // 2)
    draw.text(
        position, WATERMARK, font=font, anchor="rs", fill="white", stroke_width=max(1, size // 12), stroke_fill="black"
    )
    return marked


def _save_pictures(draw: Callable[[int], Image.Image], order: Order, place: Workplace) -> list[MadeOutput]:
    """Write what is drawn with the seed of each output, and its twin with a watermark where one is wanted."""
    made: list[MadeOutput] = []
    for index in itertools.takewhile(lambda index: place.wanted(), range(order.n)):
        picture, marked = draw(place.seed + index), None
        path = place.directory / f"{index}.png"
        path.write_bytes(pictures.encode_png(picture))
        if order.watermark:
            marked = place.directory / f"{index}-watermark.png"
            marked.write_bytes(pictures.encode_png(add_watermark(picture)))
        made.append(_picture_output(index, path, marked))
    return made


def _picture_output(index: int, path: Path, marked: Path | None) -> MadeOutput:
    return MadeOutput(f"{index}.png", path, {"index": index}, f"{index}-watermark.png" if marked else None, marked)


def _save_clip(frames: Callable[[], Iterable[Image.Image]], order: Order, place: Workplace) -> list[MadeOutput]:
    """Write a clip and, where one is wanted, its twin with a watermark; nobody waits for it after a reset."""
    path, marked = place.directory / "0.mp4", None
    number = clips.write_clip(path, itertools.takewhile(lambda frame: place.wanted(), frames()))
    if order.watermark:
        marked = place.directory / "0-watermark.mp4"
        clips.write_clip(marked, map(add_watermark, itertools.takewhile(lambda frame: place.wanted(), frames())))
    return [_clip_output(place.directory.name, number, path, marked)]


def _clip_output(task_id: str, frames: int, path: Path, marked: Path | None) -> MadeOutput:
    fields = {"id": f"{task_id}{CLIP_MARK}0", "duration": clips.duration_text(frames)}
    return MadeOutput("0.mp4", path, fields, "0-watermark.mp4" if marked else None, marked)


@functools.cache
def stand_in() -> bytes:
    """Return the PNG that stands in for a picture on the internet."""
    return pictures.encode_png(pictures.sample_picture())
