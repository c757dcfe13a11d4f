"""
How fast pictures are planned and probed.

10,000 plans of pictures of all sizes and targets, of which some need a crop and some two passes, against the helper
``calculate_expansion_ratios`` of Kling's documents, which tells the ratios of one centred expansion and checks nothing.
Goal: at most 1 s. Then the header of a 10 MB JPEG against decoding it with Pillow. Goal: at most 1/50.

    .venv/bin/python benchmarks/plan_speed.py
"""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Callable

from PIL import Image

from airflow_kling.api.checks import MAX_IMAGE_BYTES
from airflow_kling.media.picture import probe_picture
from airflow_kling.media.reframe import plan

PLANS = 10_000
RUNS = 5
ASPECTS = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:5": 4 / 5, "21:9": 21 / 9, "2.39": 2.39}
ANCHORS = ("center", "top-left", (0.3, 0.4))


def calculate_expansion_ratios(width: int, height: int, area_multiplier: float, aspect_ratio: float) -> str:
    """Return the four ratios as Kling's documents do it, written anew: centred, rounded to four decimals."""
    area = width * height * area_multiplier
    target_height = math.sqrt(area / aspect_ratio)
    target_width = target_height * aspect_ratio
    upright = (target_height / height - 1) / 2
    across = (target_width / width - 1) / 2
    return f"{upright:.4f},{upright:.4f},{across:.4f},{across:.4f}"


def best(run: Callable[[], object]) -> float:
    """Return the least of some runs, in seconds."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def heavy_jpeg() -> io.BytesIO:
    """Return a JPEG of just below 10 MB, as a camera writes it: 12 megapixels of fine detail."""
    noise = Image.effect_noise((1000, 750), 60).resize((4000, 3000), Image.Resampling.BICUBIC)
    picture = Image.merge("RGB", (noise, noise.transpose(Image.Transpose.ROTATE_180), noise))
    for quality in range(99, 50, -1):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, subsampling=0)
        if file.tell() <= MAX_IMAGE_BYTES:
            return file
    raise AssertionError("no quality makes it small enough")


def main() -> None:
    chance = random.Random(1)
    pictures = [
        (chance.randint(300, 6000), chance.choice(sorted(ASPECTS)), chance.uniform(0.42, 2.4)) for _ in range(PLANS)
    ]
    rows = [(max(300, width), max(300, round(width / own)), aspect) for width, aspect, own in pictures]
    rows = [(width, height, aspect) for width, height, aspect in rows if 0.4 <= width / height <= 2.5]
    rows += rows[: PLANS - len(rows)]
    plans = [plan(*row[:2], aspect_ratio=row[2]) for row in rows]

    def ours() -> None:
        for number, (width, height, aspect) in enumerate(rows):
            plan(width, height, aspect_ratio=aspect, anchor=ANCHORS[number % len(ANCHORS)])

    def peer() -> None:
        for width, height, aspect in rows:
            calculate_expansion_ratios(width, height, 3, ASPECTS[aspect])

    seconds, peer_seconds = best(ours), best(peer)
    passes = [len(each.passes) for each in plans]
    crops = sum(each.crop is not None for each in plans)
    print(
        f"planning: {len(rows):,} pictures in {seconds:.2f} s (goal: at most 1 s; {crops:,} with a crop, "
        f"{passes.count(2):,} of two passes), Kling's helper, ratios only, {peer_seconds:.3f} s; "
        f"ratio {seconds / peer_seconds:.0f}"
    )

    file = heavy_jpeg()

    def decode() -> None:
        file.seek(0)
        with Image.open(file) as image:
            image.load()

    probe_seconds, decode_seconds = best(lambda: probe_picture(file, "picture")), best(decode)
    print(
        f"probing: a JPEG of {file.seek(0, io.SEEK_END) / 1e6:.1f} MB in {probe_seconds * 1e3:.2f} ms, decoding it "
        f"with Pillow {decode_seconds * 1e3:.0f} ms; ratio {probe_seconds / decode_seconds:.5f} (goal: at most 0.02)"
    )


if __name__ == "__main__":
    main()
