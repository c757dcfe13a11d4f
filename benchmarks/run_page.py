"""
The first view of the run page with 1,000 pictures: seconds until the pictures on the screen are there, and bytes.

Of 1,000 mapped tasks, and of one batch of as many, or ten times as many, whose results file is read for the first time.
A real API server, Chromium with an empty cache, thumbnails not made before; then the same view again, with those kept.
The peer is what the page would move without thumbnails and paging: all 1,000 stored pictures. Goals: at most 1.5 s and
2 MB.

    .venv/bin/pip install playwright && .venv/bin/playwright install --with-deps chromium
    .venv/bin/python benchmarks/run_page.py
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from run_page_site.server import Site

from airflow_kling.lifecycle.batch_results import RowStatus, end_row

ITEMS = 1_000
ROUNDS = 5
SIZE = (1536, 1024)
RUN = "manual__2026-11-20T10:00:00+00:00"
ON_SCREEN = """
() => {
  const shown = (picture) => picture.getBoundingClientRect().top < innerHeight;
  const pictures = [...document.querySelectorAll(".card img")].filter(shown);
  return pictures.length > 0 && pictures.every((picture) => picture.complete && picture.naturalWidth > 0);
}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder) / "media"
        media.mkdir()
        stored = _pictures(media)
        with Site(Path(folder) / "site", str(media)) as site, sync_playwright() as playwright:
            site.seed(
                *({"dag_id": f"catalogue_{n}", "run_id": RUN, "tasks": _tasks(media, n)} for n in range(ROUNDS + 1))
            )
            own = playwright.chromium.executable_path
            path = os.environ.get("KLING_CHROMIUM") or (own if Path(own).exists() else shutil.which("chromium"))
            browser = playwright.chromium.launch(
                executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
            )
            _view(browser, site, "catalogue_0")  # the server's first request of all loads its modules
            fresh = [_view(browser, site, f"catalogue_{number}") for number in range(1, ROUNDS + 1)]
            warm = [_view(browser, site, f"catalogue_{ROUNDS}") for _ in range(ROUNDS)]
            batches = {}
            for rows in (ITEMS, 10 * ITEMS):
                names = [f"batch_{rows}_{number}" for number in range(ROUNDS)]
                site.seed(*({"dag_id": name, "run_id": RUN, "tasks": [_batch(media, name, rows)]} for name in names))
                batches[rows] = [_view(browser, site, name) for name in names]
            browser.close()
    measured = {"thumbnails to be made": (ITEMS, fresh), "thumbnails kept": (ITEMS, warm)}
    measured |= {
        f"a batch's results and thumbnails to be made, {rows:,}": (rows, views) for rows, views in batches.items()
    }
    for name, (items, views) in measured.items():
        seconds, sizes = zip(*views, strict=True)
        print(
            f"{name}: {statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s), "
            f"{statistics.median(sizes) / 1e6:.2f} MB, of {items:,} items"
        )
    print(
        f"without thumbnails and pages: {stored / 1e6:,.0f} MB, {stored / statistics.median(sizes):,.0f} times as much"
    )


def _pictures(media: Path) -> int:
    """Store the results: of the size and weight of photographs; returns their bytes, all of them."""
    noise = Image.effect_noise((SIZE[0] // 4, SIZE[1] // 4), 60).resize(SIZE).convert("RGB")
    size = 0
    for number in range(48):
        noise.rotate(number * 7).save(media / f"{number}.jpg", quality=88)
        size += (media / f"{number}.jpg").stat().st_size
    return size * ITEMS // 48


def _tasks(media: Path, round_number: int) -> list[dict[str, object]]:
    tasks = []
    folder = media / str(round_number)
    folder.mkdir()
    for number in range(ITEMS):
        place = folder / f"{number}.jpg"
        os.link(media / f"{number % 48}.jpg", place)  # a name of its own, and so a thumbnail
        output = {"index": 0, "kind": "image", "uri": str(place), "width": SIZE[0], "height": SIZE[1]}
        manifest = {
            "family": "image-expansion",
            "task_id": f"CjMT7WdSwWcAAAAAALv{round_number}{number}",
            "kling_conn_id": "kling_default",
            "status": "succeeded",
            "units": 8.0,
            "outputs": [output | {"duration": None, "size_bytes": place.stat().st_size, "sha256": "d" * 64}],
            "created_at": "2026-11-20T10:00:00.000Z",
            "finished_at": "2026-11-20T10:00:41.000Z",
        }
        tasks.append(
            {
                "task_id": "expand",
                "map_index": number,
                "xcoms": {"return_value": manifest, "task_id": manifest["task_id"], "uris": [str(place)]},
                "rendered": {"image": str(place), "left": 0.5, "right": 0.3, "prompt": "a wooden table"},
            }
        )
    return tasks


def _batch(media: Path, name: str, count: int) -> dict[str, object]:
    folder = media / name
    folder.mkdir()
    rows = []
    for number in range(count):
        place = folder / f"{number}.jpg"
        os.link(media / f"{number % 48}.jpg", place)
        output = {"index": 0, "kind": "image", "uri": str(place), "width": SIZE[0], "height": SIZE[1], "duration": None}
        output |= {"size_bytes": place.stat().st_size, "sha256": "d" * 64, "border": [0.277778, 0.0, 0.833333, 1.0]}
        end = end_row(
            RowStatus.SUCCEEDED,
            task_id=f"CjMT7WdSwWcAAAAAALv{number}",
            family="image-expansion",
            kling_conn_id="kling_default",
            outputs=[output],
            units=8.0,
        )
        rows.append(json.dumps({"row": number + 1, "source": str(place)} | end))
    (folder / "results.jsonl").write_text("\n".join(rows))
    told = {"results": str(folder / "results.jsonl"), "family": "image-expansion", "rows": count, "units": 8.0 * count}
    return {"task_id": "expand", "operator": "KlingExpandBatchOperator", "xcoms": {"return_value": told}}


def _view(browser: Browser, site: Site, dag_id: str) -> tuple[float, int]:
    """Return seconds and bytes of a first view, with an empty cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    token = site.login("reader").cookies["_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": site.url}])
    page = context.new_page()
    protocol = context.new_cdp_session(page)
    protocol.send("Network.enable")
    received: list[int] = []
    protocol.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
    begun = time.perf_counter()
    page.goto(f"{site.url}/kling/dags/{dag_id}/runs/{RUN}", wait_until="commit")
    page.wait_for_function(ON_SCREEN, polling="raf")
    seconds = time.perf_counter() - begun
    page.wait_for_load_state("networkidle")  # the bytes of the whole page, what is below the screen included
    context.close()
    return seconds, sum(received)


if __name__ == "__main__":
    main()
