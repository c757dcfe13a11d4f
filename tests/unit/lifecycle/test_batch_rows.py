"""What a batch's images parameter names, row by row."""

from __future__ import annotations

import json

import pytest

from airflow_kling.api.inputs import InputFault
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch_rows import key_of, read_rows, stamp_of

FIELDS = ("prompt", "aspect_ratio")
MANIFEST = {"task_id": "t1", "family": "image-expansion", "outputs": [{"index": 0, "uri": "/o/a.png"}]}


def rows(images):
    return read_rows(images, open_path=storage_path, fields=FIELDS)


def test_a_folder_gives_its_pictures_by_name_with_what_changes_when_they_do(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", ".hidden.png", "d.jpeg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "e.png").mkdir()
    found = rows(f"{tmp_path}/")
    assert [(row.number, row.name) for row in found] == [
        (1, f"{tmp_path}/a.png"),
        (2, f"{tmp_path}/b.JPG"),
        (3, f"{tmp_path}/d.jpeg"),
    ]
    (tmp_path / "a.png").write_bytes(b"xy")
    assert rows(str(tmp_path))[0].stamp != found[0].stamp


@pytest.mark.parametrize(
    ("info", "stamp"),
    [({"ETag": '"e"', "size": 3}, '3:"e"'), ({"mtime": 1.5, "size": 2}, "2:1.5"), ({"size": 2}, "")],
)
def test_a_stamp_is_what_the_storage_tells(info, stamp):
    assert stamp_of(info) == stamp


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.png", {"image": "b.png", "prompt": "p"}, MANIFEST], ["a.png", "b.png", "task t1"]),
        ("https://x.example/a.png?Signature=1&v=2", ["https://x.example/a.png"]),
        ("one.png", ["one.png"]),
        (MANIFEST, ["task t1"]),
        ([MANIFEST | {"task_id": None}], ["/o/a.png"]),
        ([MANIFEST | {"task_id": None, "outputs": []}], ["None"]),
        # Rows of another batch that made no picture are passed over.
        ([MANIFEST | {"row": 1}, MANIFEST | {"row": 2, "task_id": None, "outputs": []}], ["task t1"]),
    ],
)
def test_other_sources(images, names):
    assert [row.name for row in rows(images)] == names


def test_links_are_told_apart_though_their_names_show_no_key():
    links = [
        "https://a:b@x.example/a.png?k=1",
        "https://a:b@x.example/a.png?k=2",
        "https://a:b@x.example/a.png?k=2&sig=3",
    ]
    found = rows(links)
    assert {row.name for row in found} == {"https://x.example/a.png"}
    assert [row.lookup == found[1].lookup for row in found] == [False, True, True]
    assert rows(["https://[x/a.png"])[0].name


def test_rows_of_a_manifest_lie_beside_it_and_have_their_own_parameters(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = ['"a.png"', '{"image": "/abs/b.png", "prompt": "p", "aspect_ratio": null}', "", '{"image": "s3://b/c.png"}']
    path.write_text("\n".join(lines))
    found = rows(str(path))
    assert [row.image for row in found] == [f"{tmp_path}/a.png", "/abs/b.png", "s3://b/c.png"]
    assert [dict(row.own) for row in found] == [{}, {"prompt": "p"}, {}]


def test_a_csv_is_the_same(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes('\ufeffimage,prompt\na.png,\n~/b.png,"x, y"\n'.encode())
    assert [(row.image, dict(row.own)) for row in rows(str(path))] == [
        (f"{tmp_path}/a.png", {}),
        ("~/b.png", {"prompt": "x, y"}),
    ]


def test_the_result_of_another_batch(tmp_path):
    path = tmp_path / "r.jsonl"
    made = MANIFEST | {"row": 1, "status": "succeeded"}
    path.write_text(f"{json.dumps(made)}\n{json.dumps({'row': 2, 'task_id': None, 'family': '', 'outputs': []})}\n")
    (row,) = rows({"results": str(path), "counts": {}})
    assert row.image["task_id"] == "t1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "row 2 is no JSON"),
        ("7", "row 2 is a int"),
        ('{"prompt": "p"}', "row 2 names no image"),
        ('{"image": "a.png", "promt": "p"}', "row 2 has promt, which is none of aspect_ratio, prompt"),
    ],
)
def test_a_broken_row_is_named_by_its_number_and_the_others_stand(tmp_path, line, words):
    path = tmp_path / "m.jsonl"
    path.write_text(f'"a.png"\n{line}\n"b.png"\n')
    found = rows(str(path))
    assert words in found[1].fault
    assert [row.fault for row in (found[0], found[2])] == ["", ""]
    assert [row.number for row in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "words"), [("a,b,c", "row 1 has more than 2 columns"), ('"a"b,c', "row 1 is no line of CSV")]
)
def test_a_broken_line_of_csv(tmp_path, line, words):
    path = tmp_path / "m.csv"
    path.write_text(f"image,prompt\n{line}\nb.png,p\n")
    found = rows(str(path))
    assert words in found[0].fault
    assert found[1].own == {"prompt": "p"}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("", "given"),
        (None, "given"),
        ([], "at least one"),
        ("[1]", "the list itself"),
        ("{folder}", "at least one JPG or PNG"),
        ("{folder}/none", "an existing folder"),
        ("{folder}/none.jsonl", "an existing manifest"),
        ("{folder}/latin.csv", "UTF-8"),
        ("{folder}/empty.jsonl", "at least one"),
        ("{folder}/nameless.csv", "a column image"),
        ("{folder}/broken.csv", "a column image"),
        ("{folder}/dir.csv", "a readable manifest"),
        ({"a": 1}, "what a Kling operator returned"),
    ],
)
def test_what_is_no_source_of_pictures(tmp_path, images, words):
    (tmp_path / "latin.csv").write_bytes(b"image\n\xe9\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "nameless.csv").write_text("a,b\n1,2\n")
    (tmp_path / "broken.csv").write_text('"a"b\n')
    (tmp_path / "dir.csv").mkdir()
    if isinstance(images, str):
        images = images.replace("{folder}", str(tmp_path))
    with pytest.raises(InputFault, match=words):
        rows(images)


def test_a_folder_that_may_not_be_listed():
    class Forbidden:
        path = "p"

        @property
        def fs(self):
            return self

        def ls(self, path, detail):
            raise PermissionError(13, "Permission denied")

    with pytest.raises(InputFault, match="Permission denied"):
        read_rows("folder", open_path=lambda _: Forbidden(), fields=())


def test_a_picture_is_the_same_however_its_numbers_are_written():
    first = key_of("x", {"left": 0.5, "n": "2", "masks": [{"at": 1.0}], "loop": True, "prompt": "a lake"})
    assert first == key_of("x", {"left": "0.50", "n": 2, "masks": ({"at": "1"},), "loop": True, "prompt": "a lake"})
    others = [("y", {}), ("x", {}), ("x", {"left": 0.25}), ("x", {"loop": True}), ("x", {"loop": 1}), ("x", {"n": [2]})]
    assert len({first, *(key_of(*other) for other in others)}) == 7
