"""Runs and files that a run page must not be led astray by."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

SECRET = b"a secret that lies beside the media root"
RUN_ID = "manual__2026-11-20T10:00:00+00:00"
_PNG = b"\x89PNG\r\n\x1a\n"


def make_media(folder: Path) -> None:
    """
    Make a media root with pictures and worse, and put what nobody may see beside it.

    :param folder: Of a parent of its own.
    """
    folder.mkdir()
    Image.linear_gradient("L").convert("RGB").resize((800, 600)).save(folder / "good.png")
    Image.linear_gradient("L").convert("RGB").save(folder / "good.html", "JPEG")
    (folder / "other.png").write_bytes((folder / "good.png").read_bytes())
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(range(256)) * 4)
    (folder / "page.png").write_text("<html><script>alert(1)</script>")
    (folder / "drawing.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:200])
    (folder / "bomb.png").write_bytes(_bomb())
    (folder.parent / "secret.png").write_bytes(_PNG + SECRET)
    (folder.parent / "media-of-others").mkdir()
    (folder.parent / "media-of-others" / "theirs.png").write_bytes(_PNG + SECRET)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.png")


def make_batches(folder: Path, named: dict[str, object]) -> None:
    """
    Write results files of batches, and some that are none, into a media root and beside it.

    :param folder: The media root.
    :param named: See :func:`places`.
    """
    good = str(folder / "good.png")
    rows = [row(1, good, good), row(2, good, None, status="refused", error="<b>too small</b>")]
    rows += [row(number, place, place) for number, place in enumerate(named.values(), 3)]
    write_rows(folder / "batch.jsonl", rows)
    write_rows(folder.parent / "secret.jsonl", [row(1, SECRET.decode(), good)])
    (folder / "linked.jsonl").symlink_to(folder.parent / "secret.jsonl")
    odd = [
        *(result for result in odd_results() if len(str(result)) < 10_000),
        {"status": []},
        row(1, good, good) | {"outputs": [7]},
        row(1, good, good, status="secret"),
    ]
    (folder / "odd.jsonl").write_text("\n".join(["{", *map(json.dumps, odd), json.dumps(row(9, good, good))]))
    (folder / "long.jsonl").write_bytes(b"[" * 9_000_000)
    with (folder / "huge.jsonl").open("wb") as huge:
        huge.truncate(1 << 40)


def row(number: int, source: object, uri: object, **more: Any) -> dict[str, Any]:
    """Return a row of a batch's results."""
    outputs = [] if uri is None and "error" in more else [{"index": 0, "kind": "image", "uri": uri}]
    facts = {"row": number, "source": source, "status": "succeeded", "task_id": f"B{number}", "outputs": outputs}
    return facts | {"family": "image-expansion", "units": 8.0, "error": None} | more


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a results file."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))


def batch(task_id: str, results: object, **more: Any) -> dict[str, Any]:
    """Return the task of a batch that named this as its results."""
    value = {"results": results, "family": "image-expansion", "rows": 2, "counts": {"succeeded": 2}, "units": 16.0}
    return task(task_id, operator="KlingExpandBatchOperator", value=value, **more)


#: Task -> the results that it names, by what lies in or beside the media root; nothing of them may be shown.
BATCHES = {
    "beside": "../secret.jsonl",
    "linked": "linked.jsonl",
    "picture": "good.png",
    "long": "long.jsonl",
    "huge": "huge.jsonl",
    "missing": "missing.jsonl",
    "folder": "",
    "pipe": "pipe.png",
}


def _bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return _PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def manifest(*uris: object, **more: Any) -> dict[str, Any]:
    """Return what an expansion returns that stored these."""
    kinds = ["video" if str(uri).endswith(".mp4") else "image" for uri in uris]
    outputs = [{"index": i, "kind": kind, "uri": uri} for i, (uri, kind) in enumerate(zip(uris, kinds, strict=True))]
    return {"family": "image-expansion", "task_id": "T1", "status": "succeeded", "units": 8, "outputs": outputs} | more


def places(media: Path, port: int) -> dict[str, object]:
    """
    Return places that a result may name and nobody may be served, by a name.

    :param media: The media root.
    :param port: Where nobody may connect to.
    """
    beside = media.parent
    return {
        "passwd": "file:///etc/passwd",
        "passwd-plain": "/etc/passwd",
        "localhost": "file://localhost/etc/passwd",
        "host": f"file://elsewhere{media}/good.png",
        "dots": f"file://{media}/../secret.png",
        "encoded": f"file://{media}/%2e%2e/secret.png",
        "link": str(media / "link.png"),
        "linked": str(media / "linked" / "secret.png"),
        "sibling": str(beside / "media-of-others" / "theirs.png"),
        "relative": "secret.png",
        "null": f"{media}/good.png\0.txt",
        "root": str(media),
        "pipe": str(media / "pipe.png"),
        "missing": str(media / "missing.png"),
        "page": str(media / "page.png"),
        "drawing": str(media / "drawing.png"),
        "http": f"http://127.0.0.1:{port}/x.png",
        "scheme": f"HTTP://127.0.0.1:{port}/x.png",
        "chained": f"simplecache::http://127.0.0.1:{port}/x.png",
        "chained-file": f"file://{media}/good.png::http://127.0.0.1:{port}/x.png",
        "ftp": f"ftp://127.0.0.1:{port}/x.png",
        "bucket": "s3://bucket/x.png",
        "javascript": "javascript:alert(1)",
        "data": "data:image/png;base64,iVBORw0KGgo=",
        "odd": "s3://[half/x.png",
        "none": None,
        "number": 7,
    }


def tasks(media: Path, named: dict[str, object]) -> list[dict[str, Any]]:
    """
    Return a run's tasks, as :mod:`run_page_site.seed` wants them.

    :param media: The media root.
    :param named: See :func:`places`.
    """

    good = str(media / "good.png")
    return [
        task("good", good, rendered={"image": good, "left": 0.5}),
        task("other", str(media / "other.png")),
        task("clip", str(media / "clip.mp4")),
        task("misnamed", str(media / "good.html")),
        task("broken", str(media / "broken.png")),
        task("bomb", str(media / "bomb.png")),
        task("not-ours", good, operator="PythonOperator", rendered={"image": good}),
        *(task(f"names-{name}", place) for name, place in named.items()),
        *(task(f"made-of-{name}", good, rendered={"image": place}) for name, place in named.items()),
        # Read by nobody yet: who wrote the parameter proves nothing.
        {"task_id": "unread", "state": "running", "rendered": {"image": good}},
        *(task(f"odd-{number}", value=value) for number, value in enumerate(odd_results())),
        *(task(f"oddly-made-{number}", good, rendered=fields) for number, fields in enumerate(ODD_FIELDS)),
        batch("batch", str(media / "batch.jsonl")),
        batch("batch-odd", f"file://{media}/odd.jsonl"),
        # Failed, and so it returned nothing.
        {
            "task_id": "batch-failed",
            "state": "failed",
            "operator": "KlingExpandBatchOperator",
            "xcoms": {"results": str(media / "batch.jsonl"), "progress": {"rows": 2, "done": 2, "failed": 0}},
        },
        batch("batch-not-ours", str(media / "batch.jsonl")) | {"operator": "PythonOperator"},
        *(batch(f"batch-{name}", f"{media}/{place}") for name, place in BATCHES.items()),
        batch("batch-number", 7),
        # As the database holds what an earlier Airflow wrote: JSON in a text.
        task("as-text", value='{"family": "image-expansion", "outputs": [{"uri": "file:///etc/passwd"}]}'),
    ]


#: What a rendered field may hold, and no page may fail over.
ODD_FIELDS: list[dict[str, Any]] = [
    {"image": {"task_id": []}},
    {"image": "/in/a.png", "up": "nan"},
    {"image": "/in/\ud800.png", "prompt": 10**4_000},
]


def odd_results() -> list[Any]:
    """Return what a task may return, names no file, and no page may fail over."""
    made = manifest("/nowhere.png")
    return [
        *([], "text", '{"family": "x"', {"family": 1, "outputs": []}, {"family": "x", "outputs": [1]}, 7),
        "[" * 200_000,
        *(made | {"task_id": odd} for odd in ([], {})),
        made | {"outputs": [{"kind": [], "uri": "/in/\ud800.png"}], "message": 10**4_000},
    ]


def task(
    task_id: str, *uris: object, operator: str = "KlingExpandImageOperator", value: object = None, **more: Any
) -> dict[str, Any]:
    """Return a task that returned a manifest of these, or that value."""
    result = manifest(*uris) if value is None else value
    return {"task_id": task_id, "operator": operator, "xcoms": {"return_value": result}} | more
