"""Results are stored whole, told in a small manifest, and refused where they are something else."""

from __future__ import annotations

import hashlib
import io
import json
import wave
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from PIL import Image

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.collect import collect, manifest, store_manifest, summary


def picture(picture_format, size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, picture_format)
    return buffer.getvalue()


def sound():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    return buffer.getvalue()


CLIP = b"\x00\x00\x00\x18ftypmp42" + bytes(100)
CONTENTS = {
    "png": (OutputKind.IMAGE, picture("PNG"), ".png", (40, 30)),
    "jpeg": (OutputKind.IMAGE, picture("JPEG"), ".jpg", (40, 30)),
    "webp": (OutputKind.IMAGE, picture("WEBP"), ".webp", (40, 30)),
    "mp4": (OutputKind.VIDEO, CLIP, ".mp4", (None, None)),
    "wav": (OutputKind.AUDIO, sound(), ".wav", (None, None)),
    "mp3": (OutputKind.AUDIO, b"ID3\x04" + bytes(100), ".mp3", (None, None)),
    "mp3-without-tags": (OutputKind.AUDIO, b"\xff\xfb\x90\x00" + bytes(100), ".mp3", (None, None)),
    "broken-png": (OutputKind.IMAGE, b"\x89PNG\r\n\x1a\n" + bytes(100), ".png", (None, None)),
}


def task_of(*outputs, task_id="T1", **facts):
    return Task("image-expansion", task_id, status=TaskStatus.SUCCEEDED, outputs=outputs, **facts)


def output(kind=OutputKind.IMAGE, index=0):
    return Output(index, kind, f"https://cdn.example/{index}.bin?sign=hunter2", duration=5.1)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("step", [64, 1 << 20])
def test_output_is_stored_with_its_checksum_and_the_ending_of_its_bytes(tmp_path, name, step):
    kind, content, ending, (width, height) = CONTENTS[name]
    pieces = [content[start : start + step] for start in range(0, len(content), step)]
    (stored,) = collect(task_of(output(kind)), tmp_path / "new" / "er", lambda url: iter(pieces)).values()
    path = tmp_path / "new" / "er" / f"T1-0{ending}"
    assert path.read_bytes() == content
    assert (stored.uri, stored.size_bytes) == (str(path), len(content))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert (stored.width, stored.height) == (width, height)


@pytest.mark.parametrize("first", [1, 4])
def test_short_first_piece_does_not_hide_the_type(tmp_path, first):
    content = picture("PNG")
    collect(task_of(output()), tmp_path, lambda url: iter([content[:first], content[first:]]))
    assert (tmp_path / "T1-0.png").read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param(OutputKind.IMAGE, b"<!doctype html><p>Sign in</p>", id="page"),
        pytest.param(OutputKind.IMAGE, b"", id="nothing"),
        pytest.param(OutputKind.IMAGE, CLIP, id="clip-for-picture"),
        pytest.param(OutputKind.IMAGE, sound(), id="sound-for-picture"),
        pytest.param(OutputKind.VIDEO, picture("PNG"), id="picture-for-clip"),
        pytest.param(OutputKind.AUDIO, picture("JPEG"), id="picture-for-sound"),
        pytest.param(OutputKind.IMAGE, picture("GIF"), id="gif"),
    ],
)
def test_output_of_another_type_is_refused_and_not_stored(tmp_path, kind, content):
    with pytest.raises(ApiFault, match=f"output 0 of task T1 is no {kind.value}") as refused:
        collect(task_of(output(kind)), tmp_path, lambda url: iter([content] if content else []))
    assert refused.value.info.kind is FaultKind.SERVER
    assert "is paid" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_each_output_has_a_file_of_its_own(tmp_path):
    contents = {f"https://cdn.example/{n}.bin?sign=hunter2": picture("PNG", (n + 1, 9)) for n in (0, 3, 8)}
    stored = collect(task_of(*(output(index=n) for n in (0, 3, 8))), tmp_path, lambda url: iter([contents[url]]))
    assert {index: row.width for index, row in stored.items()} == {0: 1, 3: 4, 8: 9}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["T1-0.png", "T1-3.png", "T1-8.png"]


def test_collecting_again_gives_the_same_files(tmp_path):
    once, again = (collect(task_of(output()), tmp_path, lambda url: iter([picture("PNG")])) for _ in range(2))
    assert once == again
    assert len(list(tmp_path.iterdir())) == 1


def test_odd_task_id_stays_inside_the_folder(tmp_path):
    (stored,) = collect(task_of(output(), task_id="../../a b"), tmp_path, lambda url: iter([picture("PNG")])).values()
    assert [str(path) for path in tmp_path.iterdir()] == [stored.uri]


def test_download_that_breaks_off_leaves_no_file_that_looks_whole(tmp_path):
    def fetch(url):
        yield picture("PNG")[:50]
        raise ApiFault(FaultInfo(FaultKind.CONNECTION, "lost"))

    with pytest.raises(ApiFault):
        collect(task_of(output()), tmp_path, fetch)
    assert not (tmp_path / "T1-0.png").exists()


# -- the manifest ----------------------------------------------------------------------------------------------


def test_manifest_says_what_is_known_and_nothing_secret(tmp_path):
    created, ended = datetime(2026, 11, 20, 9, 0, 0, 123000, UTC), datetime(2026, 11, 20, 9, 1, 0, tzinfo=UTC)
    task = task_of(output(), external_task_id="af-1", units=8.0, created_at=created, updated_at=ended)
    stored = collect(task, tmp_path, lambda url: iter([picture("PNG")]))
    content = picture("PNG")
    assert manifest(task, "kling_default", stored) == {
        "family": "image-expansion",
        "task_id": "T1",
        "external_task_id": "af-1",
        "kling_conn_id": "kling_default",
        "status": "succeeded",
        "outputs": [
            {
                "index": 0,
                "kind": "image",
                "uri": str(tmp_path / "T1-0.png"),
                "width": 40,
                "height": 30,
                "duration": 5.1,
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        ],
        "units": 8.0,
        "created_at": "2026-11-20T09:00:00.123Z",
        "finished_at": "2026-11-20T09:01:00.000Z",
    }


def test_manifest_of_a_task_that_runs_has_no_end():
    task = Task("image-expansion", "T1", status=TaskStatus.PROCESSING, updated_at=datetime(2026, 1, 1, tzinfo=UTC))
    told = manifest(task, "kling_default")
    assert (told["outputs"], told["finished_at"], told["created_at"], told["units"]) == ([], None, None, None)


def test_links_are_told_only_where_asked():
    task = task_of(output())
    assert "hunter2" not in json.dumps(manifest(task, "c"))
    assert manifest(task, "c", include_urls=True)["outputs"][0]["url"] == output().url


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("{task_id}-{index}", "T1-manifest.json"),
        ("{task_id}/{index}", "T1/manifest.json"),
        ("shoes", "shoes.json"),
    ],
)
def test_manifest_lies_beside_its_files_without_a_link(tmp_path, name, file):
    made = manifest(task_of(output()), "c", include_urls=True)
    store_manifest(made, tmp_path, name, "T1")
    kept = json.loads((tmp_path / file).read_text())
    assert "url" not in kept["outputs"][0]
    assert kept == manifest(task_of(output()), "c")


@pytest.mark.parametrize(("units", "told"), [((8.0, 16.0), 24.0), ((8.0, None), None)])
def test_manifest_of_several_passes_has_the_units_of_all(units, told):
    first, last = (replace(task_of(output()), task_id=f"T{number}", units=each) for number, each in enumerate(units))
    made = manifest(last, "c", earlier=[first])
    assert (made["task_id"], made["passes"], made["units"]) == ("T1", ["T0", "T1"], told)


def test_manifest_of_nine_pictures_fits_a_small_xcom(tmp_path):
    folder = tmp_path / ("a-long-name-of-a-folder" * 3)
    task = task_of(
        *(output(index=n) for n in range(9)), task_id="t" * 32, external_task_id="af-" + "x" * 45, units=72.0
    )
    stored = collect(task, folder, lambda url: iter([picture("PNG")]))
    assert len(json.dumps(manifest(task, "kling_default", stored))) <= 4096


@pytest.mark.parametrize(
    ("task", "place", "line"),
    [
        (
            task_of(
                output(),
                output(index=1),
                units=16.0,
                created_at=datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC),
                updated_at=datetime(2026, 11, 20, 9, 0, 41, tzinfo=UTC),
            ),
            "s3://bucket/x",
            "2 image(s), 16 units, 41 s, stored in s3://bucket/x",
        ),
        (task_of(output(OutputKind.VIDEO)), None, "1 video(s), not stored"),
        (task_of(), None, "nothing, not stored"),
    ],
)
def test_summary_says_what_was_made_and_where_it_lies(task, place, line):
    assert summary(task, place) == line


# -- clips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "duration"), [(5.1, 5.1), (None, 2.0)])
def test_a_clip_tells_its_size_and_its_length_where_the_api_does_not(tmp_path, told, duration):
    import av

    path = tmp_path / "real.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(48):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (320, 180), "red"))))
        container.mux(stream.encode())
    task = task_of(Output(0, OutputKind.VIDEO, "https://cdn.example/0.mp4", duration=told))
    stored = collect(task, tmp_path / "out", lambda url: iter([path.read_bytes()]))
    (row,) = manifest(task, "c", stored)["outputs"]
    assert (row["width"], row["height"], row["duration"]) == (320, 180, duration)
