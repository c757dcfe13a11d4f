"""Makes the outputs of accepted tasks: one maker per family, a worker thread, files in a temporary directory."""

from __future__ import annotations

import functools
import io
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.emulator import pictures
from airflow_kling.emulator.orders import Job, MadeOutput, Order
from airflow_kling.emulator.state import Accepted, EmulatorState

log = logging.getLogger(__name__)

WATERMARK = "KLING (emulated)"
CANNED_SIZE = (64, 64)
SEEDS_PER_TASK = 16
"""More than the nine outputs that a task can have, so that no two outputs share a seed."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """
    Where and how the outputs of one task are made.

    :param directory: For the files.
    :param engine: See :func:`airflow_kling.emulator.pictures.expand`.
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
    with Image.open(io.BytesIO(job.source)) as stored:
        upright = ImageOps.exif_transpose(stored)
        upright.load()
    made: list[MadeOutput] = []
    for index in range(order.n):
        if not place.wanted():
            break
        expanded = pictures.expand(upright, **job.options, seed=place.seed + index, engine=place.engine)
        made.append(_save(expanded, index, order, place.directory))
    return made


#: Who makes the outputs of a family; a family needs a row here and in ``validation.CHECKS``.
MAKERS: dict[str, Maker] = {IMAGE_EXPANSION: expand_pictures}


class Studio:
    """
    Makes outputs in the background, one task after the other, and tells the state.

    :param state: Where tasks come from and outputs are reported.
    """

    def __init__(self, state: EmulatorState) -> None:
        self._state = state
        self._directory = tempfile.TemporaryDirectory(prefix="airflow-kling-emulator-", ignore_cleanup_errors=True)
        self.root = Path(self._directory.name)
        self._closing = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="kling-emulator-studio")
        self._pending: set[Future[None]] = set()
        self._canned: Path | None = None

    def start(self, accepted: Accepted, job: Job) -> None:
        """
        Begin to make the outputs of a task.

        :param accepted: The task.
        :param job: What to make them of; large sources wait on disk.
        """
        order, task_id = accepted.task.order, accepted.task.task_id
        if self._state.settings.pictures == "canned":
            self._state.made(task_id, self._canned_outputs(order))
            return
        directory = self.root / task_id
        directory.mkdir()
        source = directory / "source"
        source.write_bytes(job.source)
        place = Workplace(
            directory,
            self._state.settings.engine,
            self._state.settings.seed + accepted.number * SEEDS_PER_TASK,
            functools.partial(self._is_wanted, task_id),
        )
        future = self._worker.submit(self._make, task_id, order, source, job.options, place)
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

    def _make(self, task_id: str, order: Order, source: Path, options: Mapping[str, float], place: Workplace) -> None:
        try:
            if place.wanted():
                outputs = MAKERS[order.family.name](order, Job(source.read_bytes(), options), place)
                source.unlink()
                self._state.made(task_id, outputs)
        except Exception as error:
            if place.wanted():
                log.warning("Emulated task %s failed: %s", task_id, error, exc_info=True)
                self._state.not_made(task_id, f"The emulator could not make the outputs: {type(error).__name__}")

    def _canned_outputs(self, order: Order) -> list[MadeOutput]:
        if self._canned is None:
            path = self.root / "canned.png"
            path.write_bytes(pictures.encode_png(Image.new("RGB", CANNED_SIZE, (120, 144, 156))))
            self._canned = path
        path = self._canned
        return [_output(index, path, path if order.watermark else None) for index in range(order.n)]


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


def _save(picture: Image.Image, index: int, order: Order, directory: Path) -> MadeOutput:
    path = directory / f"{index}.png"
    path.write_bytes(pictures.encode_png(picture))
    if not order.watermark:
        return _output(index, path, None)
    marked = directory / f"{index}-watermark.png"
    marked.write_bytes(pictures.encode_png(add_watermark(picture)))
    return _output(index, path, marked)


def _output(index: int, path: Path, marked: Path | None) -> MadeOutput:
    return MadeOutput(
        name=f"{index}.png",
        path=path,
        fields={"index": index},
        watermark_name=f"{index}-watermark.png" if marked else None,
        watermark_path=marked,
    )


@functools.cache
def stand_in() -> bytes:
    """Return the PNG that stands in for a picture on the internet."""
    return pictures.encode_png(pictures.sample_picture())
