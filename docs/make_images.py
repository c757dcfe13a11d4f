"""
Draws the pictures of these pages with the package's own preview and emulator's sample: ``python docs/make_images.py``.

``before-after.jpg`` is from ``airflow-kling demo``, ``run-page.jpg`` a screenshot with scikit-image's photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_kling.emulator.pictures import sample_picture
from airflow_kling.media.preview import preview
from airflow_kling.media.reframe import Target

IMAGES = Path(__file__).parent / "images"
LIMIT = 300_000
"""Bytes of all pictures together."""

#: Name, size of the picture in pixels, and what it shall become.
PLANS: tuple[tuple[str, tuple[int, int], dict[str, Any]], ...] = (
    ("plan-one-pass", (960, 1200), {"aspect_ratio": "16:9"}),
    ("plan-auto", (900, 1600), {"aspect_ratio": "16:9"}),
    ("plan-passes", (900, 1600), {"aspect_ratio": "16:9", "fit": "passes"}),
    ("plan-anchor", (960, 1200), {"aspect_ratio": "16:9", "anchor": "0.3,0.6"}),
)

_STEPS = (
    ("planned", "crop, passes, price", "#5f6b7a"),
    ("submitted", "the only step that costs", "#b3541e"),
    ("waited for", "in the triggerer", "#3a6ea5"),
    ("collected", "files and manifest", "#3c7a4a"),
)


def main() -> None:
    """Draw all of them."""
    for name, (width, height), target in PLANS:
        plan = Target(**target).plan(width, height)
        drawn = preview(sample_picture(width, height), plan, max_side=640)
        drawn.save(IMAGES / f"{name}.jpg", quality=68, optimize=True)

    (IMAGES / "life.svg").write_text(_life())
    size = sum(path.stat().st_size for path in IMAGES.iterdir())
    if size > LIMIT:
        raise SystemExit(f"{size} bytes, more than {LIMIT}")


def _life() -> str:
    boxes = []
    for number, (name, below, colour) in enumerate(_STEPS):
        x = 10 + 180 * number
        boxes.append(
            f'<rect x="{x}" y="10" width="150" height="62" rx="8" fill="{colour}"/>'
            f'<text x="{x + 75}" y="37" font-size="16" font-weight="bold">{name}</text>'
            f'<text x="{x + 75}" y="58" font-size="11">{below}</text>'
        )
        if number:
            boxes.append(f'<path d="M{x - 28} 41h22m-7 -6l7 6l-7 6" fill="none" stroke="#888" stroke-width="2"/>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 710 82" width="710" height="82" '
        'font-family="sans-serif" fill="#fff" text-anchor="middle">' + "".join(boxes) + "</svg>\n"
    )


if __name__ == "__main__":
    main()
