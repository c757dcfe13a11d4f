"""What came of the demo, for people: a comparison, a contact sheet, and lines for the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from PIL import Image, ImageOps

from airflow_kling.api.families import get_family
from airflow_kling.demo.order import Order
from airflow_kling.demo.sheet import contact_sheet
from airflow_kling.emulator.pictures import before_after, encode_png

WORTH_SHOWING = 0.0005
"""Share of a picture that a crop takes off; a trim of less than a pixel is no news."""

RESULT, COMPARISON, SHEET, BEFORE = "result.json", "before-after.png", "contact-sheet.html", "before"

_FILES = (("Comparison", COMPARISON), ("Manifests", RESULT), ("Contact sheet", SHEET))


@dataclass(frozen=True)
class Report:
    """
    What came of a run.

    :param expanded: Manifest of the expansion.
    :param filmed: Manifest of the clip.
    :param seconds: That it took, the start of Airflow included.
    """

    order: Order
    expanded: dict[str, Any]
    filmed: dict[str, Any]
    out: Path
    seconds: float

    def write(self) -> None:
        """Write the comparison, a copy of the picture before, and the sheet that names it."""
        with Image.open(io.BytesIO(self.order.data)) as opened, Image.open(self._pictures[0]) as after:
            comparison = encode_png(before_after(ImageOps.exif_transpose(opened), after, self._border))
        (self.out / COMPARISON).write_bytes(comparison)
        self._before.write_bytes(self.order.data)
        title = f"{self.order.image.name} {'by' if self.order.plan.target.ratios else 'to'} {self._wanted}"
        facts = [*self._done("\N{MULTIPLICATION SIGN}"), ("Time", f"{self.seconds:.0f} s, with the start of Airflow")]
        sheet = contact_sheet(
            title, self._before, self._pictures[0], self._clip, facts, self._costs(), border=self._border
        )
        (self.out / SHEET).write_text(sheet, encoding="utf-8")

    def lines(self) -> str:
        """Return the lines for the terminal: what was done, what it costs, where everything lies."""
        files = [("Before", self._before), *(("After", path) for path in self._pictures), ("Clip", self._clip)]
        files += [(label, self.out / name) for label, name in _FILES]
        rows = [*self._done("x"), *(("List price", f"{label}: {text}") for label, text in self._costs())]
        rows += [(label, shown(path)) for label, path in files]
        return "\n".join([f"Done in {self.seconds:.0f} s", *(f"  {label:<14}{text}" for label, text in _once(rows))])

    def _done(self, times: str) -> Iterator[tuple[str, str]]:
        plan, pictures, clip = self.order.plan, self.expanded["outputs"], self.filmed["outputs"][0]
        yield "Sent", f"{self.order.image.name}, {plan.source[0]} {times} {plan.source[1]} px"
        yield "Wanted", self._wanted + (f", {plan.target.n} pictures" if plan.target.n > 1 else "")
        for number, each in enumerate(plan.passes, 1):
            ratios = ", ".join(f"{side} {ratio:g}" for side, ratio in each.ratios.items() if ratio)
            yield "Pass", f"{number} of {len(plan.passes)}: {ratios} ({each.area:.2f} times the area)"
        if plan.lost > WORTH_SHOWING:
            yield "Cropped", f"{plan.lost:.1%} of the picture"
        for row in pictures:
            yield "Came back" if plan.passes else "Stored", _measures(row, times)
        yield "Clip", f"{_measures(clip, times)}, {clip['duration']:.1f} s" + (", of the first" if pictures[1:] else "")
        for task_id in (*self._passes, self.filmed["task_id"]):
            yield "Kling's task", task_id

    def _costs(self) -> Iterator[tuple[str, str]]:
        together = 0.0
        for label, manifest in (
            (f"Expansion, {_counted(len(self._passes), 'pass', 'passes')}", self.expanded),
            (f"Clip, {self.filmed['outputs'][0]['duration']:.0f} s", self.filmed),
        ):
            units = manifest["units"] or 0.0
            usd = get_family(manifest["family"]).usd(units)
            together += usd
            yield label, f"{_counted(units, 'unit', 'units')}, ${usd:.3f}"
        yield "Together", f"${together:.3f}"

    @property
    def _passes(self) -> list[str]:
        """Ids of the remote tasks of the passes."""
        task_id = self.expanded["task_id"]
        return self.expanded.get("passes") or ([task_id] if task_id else [])

    @property
    def _wanted(self) -> str:
        target = self.order.plan.target
        return target.label + (f", anchor {target.anchor}" if target.anchor != "center" else "")

    @property
    def _before(self) -> Path:
        return self.out / f"{BEFORE}{self.order.ending}"

    @cached_property
    def _pictures(self) -> list[Path]:
        return [_path(row["uri"]) for row in self.expanded["outputs"]]

    @cached_property
    def _clip(self) -> Path:
        return _path(self.filmed["outputs"][0]["uri"])

    @cached_property
    def _border(self) -> tuple[float, float, float, float]:
        """Where the old picture lies in the new one: left, top, width, height, in the new one's pixels."""
        frame, first = self.order.plan.frame, self.expanded["outputs"][0]
        across, down = first["width"] / frame.width, first["height"] / frame.height
        width, height = self.order.plan.source
        return float(-frame.left * across), float(-frame.top * down), float(width * across), float(height * down)


def shown(path: Path) -> str:
    """
    Return a path as a person here would type it.

    :param path: Absolute.
    """
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _once(rows: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Name each label where it begins only."""
    last = ""
    for label, text in rows:
        yield "" if label == last else label, text
        last = label


def _counted(number: float, one: str, many: str) -> str:
    return f"{number:g} {one if number == 1 else many}"


def _measures(row: dict[str, Any], times: str) -> str:
    return f"{row['width']} {times} {row['height']} px, {row['size_bytes'] / 1e6:.1f} MB"


def _path(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))
