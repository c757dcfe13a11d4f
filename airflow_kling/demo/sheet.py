"""The demo's contact sheet: one HTML file with the picture before and after, the clip, and what it would have cost."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageOps

Rows = Iterable[tuple[str, str]]

TALLEST = 640
"""Pixels of the screen that a picture may be high, so that a tall one does not push all else away."""

NOTHING_PAID = "Emulated: nothing was sent to Kling, and nothing was paid."

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f3ef; --card: #fff; --text: #1d1d1b; --soft: #62615b; --line: #dddbd3; --mark: #e08a00;
  --hatch: #eae8e1; --empty: #dfdcd3; --note: #fdf3dd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #151514; --card: #1f1f1d; --text: #ededE8; --soft: #a5a49c; --line: #363632; --mark: #ffb340;
    --hatch: #2e2e2b; --empty: #272725; --note: #33290f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: clamp(16px, 3vw, 40px); }
h1 { margin: 0 0 4px; font-size: clamp(1.4rem, 3vw, 2rem); line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 0 0 10px; font-size: 1rem; }
h1, td, figcaption, .caption { overflow-wrap: anywhere; }
.lead { margin: 0 0 24px; color: var(--soft); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: clamp(12px, 1.6vw, 20px);
}
.row { display: grid; gap: 20px; margin-bottom: 20px; }
.pair { display: flex; gap: 16px; align-items: flex-start; }
.pair, .compare, video { margin-inline: auto; }
figure { margin: 0; min-width: 0; }
.frame { position: relative; overflow: hidden; border-radius: 6px; }
.compare { background: repeating-linear-gradient(45deg, var(--hatch) 0 6px, var(--empty) 6px 12px); }
img, video { display: block; width: 100%; height: auto; }
video { border-radius: 6px; background: #000; }
video:not(:fullscreen) { object-fit: cover; }
figcaption, .caption { margin: 8px 0 0; font-size: .85rem; color: var(--soft); }
figcaption b { color: var(--text); }
.border { position: absolute; border: 2px dashed var(--mark); box-shadow: 0 0 0 1px rgb(0 0 0 / .35); }
.key { display: inline-block; width: 1.6em; border-top: 2px dashed var(--mark); vertical-align: middle; }
.compare { --at: 50%; touch-action: pan-y; }
.compare .before { position: absolute; }
.compare .new { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)); }
.compare img { height: 100%; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.handle {
  position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 4px rgb(0 0 0 / .6); pointer-events: none;
}
.handle::after {
  content: "\\2194"; position: absolute; top: 50%; left: 50%; translate: -50% -50%; width: 36px; height: 36px;
  border-radius: 50%; background: #fff; color: #1d1d1b; font-size: 18px; line-height: 36px; text-align: center;
}
.compare input:focus-visible + .handle::after { outline: 3px solid var(--mark); outline-offset: 2px; }
.tag {
  position: absolute; bottom: 8px; padding: 1px 8px; border-radius: 4px; background: rgb(0 0 0 / .65); color: #fff;
  font-size: .75rem; pointer-events: none;
}
.tag.left { left: 8px; } .tag.right { right: 8px; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th, td { padding: 7px 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { width: 38%; padding-right: 16px; font-weight: 400; color: var(--soft); }
.costs td { font-variant-numeric: tabular-nums; text-align: right; }
.note { margin: 12px 0 0; padding: 8px 12px; border-radius: 6px; background: var(--note); font-size: .88rem; }
@media (min-width: 820px) { .two { grid-template-columns: 1fr 1fr; } }
@media (max-width: 560px) { .pair { flex-direction: column; } .pair figure { flex: none !important; width: 100%; } }
@media print { .card { break-inside: avoid; } }
"""

_SCRIPT = """
const compare = document.querySelector(".compare"), range = compare.querySelector("input");
const show = () => {
  compare.style.setProperty("--at", range.value + "%");
  range.setAttribute("aria-valuetext", range.value + " % before, " + (100 - range.value) + " % after");
};
range.addEventListener("input", show);
show();
const clip = document.querySelector("video");
if (clip && !matchMedia("(prefers-reduced-motion: reduce)").matches) clip.play().catch(() => {});
"""


def contact_sheet(
    title: str,
    before: Path,
    after: Path,
    clip: Path | None,
    facts: Rows,
    costs: Rows,
    *,
    border: tuple[float, float, float, float],
) -> str:
    """
    Return the sheet's HTML; it names the files by their names alone, for they lie beside it.

    :param clip: MP4, if one was made.
    :param facts: Label and text of what was done.
    :param costs: Label and text of units and list prices.
    :param border: Where the old picture lies in the new one: left, top, width and height in the new one's pixels; may
        reach beyond it where a crop took something off.
    """
    old, new = _size(before), _size(after)
    place = _place(border, new)
    old_height = border[2] * old[1] / old[0]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{"One picture, expanded and filmed" if clip else "One picture, expanded"}</p>
<section class="row card" aria-label="Before and after">
<div class="pair" style="max-width: {_width(border[2] + new[0], max(old_height, new[1]))}">
<figure style="flex: {border[2]:g}">
<div class="frame">{_image(before, "The picture before", old)}</div>
<figcaption><b>Before</b> {_file(before, old)}</figcaption>
</figure>
<figure style="flex: {new[0]}">
<div class="frame">{_image(after, "The expanded picture", new)}<div class="border" style="{place}"></div></div>
<figcaption><b>After</b> {_file(after, new)} <span class="key"></span> the old border</figcaption>
</figure>
</div>
</section>
<div class="row{" two" if clip else ""}">
<section class="card">
<h2>Compare</h2>
<div class="frame compare" style="aspect-ratio: {new[0]} / {new[1]}; max-width: {_width(*new)}">
<div class="before" style="{place}">{_image(before, "", old)}</div>
<div class="new">{_image(after, "", new)}</div>
<span class="tag left">before</span><span class="tag right">after</span>
<input type="range" min="0" max="100" value="50" step="1" aria-label="How much of the picture shows as it was before">
<div class="handle"></div>
</div>
<p class="caption">Drag, or use the arrow keys.</p>
</section>
{_clip_card(clip, after, new) if clip else ""}</div>
<div class="row two">
<section class="card">
<h2>What was done</h2>
{_table(facts)}
</section>
<section class="card costs">
<h2>What it costs at list price</h2>
{_table(costs)}
<p class="note">{NOTHING_PAID}</p>
</section>
</div>
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _clip_card(clip: Path, poster: Path, size: tuple[int, int]) -> str:
    return f"""<section class="card">
<h2>The clip</h2>
<video src="{_link(clip)}" poster="{_link(poster)}"
 style="aspect-ratio: {size[0]} / {size[1]}; max-width: {_width(*size)}"
 muted loop controls playsinline preload="metadata"
 aria-label="Clip made from the expanded picture; it has no sound"></video>
<p class="caption">{escape(clip.name)}</p>
</section>
"""


def _image(path: Path, text: str, size: tuple[int, int]) -> str:
    return f'<img src="{_link(path)}" alt="{escape(text)}" width="{size[0]}" height="{size[1]}">'


def _file(path: Path, size: tuple[int, int]) -> str:
    return f"{escape(path.name)}, {size[0]} \N{MULTIPLICATION SIGN} {size[1]} px"


def _table(rows: Rows) -> str:
    lines = (f'<tr><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>' for label, text in rows)
    return "\n".join(["<table>", *lines, "</table>"])


def _link(path: Path) -> str:
    # A colon in the name would read as a scheme.
    return f"./{quote(path.name)}"


def _size(path: Path) -> tuple[int, int]:
    """Return width and height as a browser shows the picture."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).size


def _width(width: float, height: float) -> str:
    """Return how wide something of these proportions may show."""
    return f"{TALLEST * width / height:.0f}px"


def _place(border: tuple[float, float, float, float], size: tuple[int, int]) -> str:
    sides = zip(("left", "top", "width", "height"), border, size * 2, strict=True)
    return "; ".join(f"{name}: {100 * pixels / whole:.4f}%" for name, pixels, whole in sides)
