"""A plan as a table and as a drawing: true to its numbers, and of a size to look at."""

from __future__ import annotations

import io
import json

import numpy
import pytest
from PIL import ExifTags, Image

from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import upright_size
from airflow_kling.media.preview import MAX_SIDE, as_dict, as_text, preview, preview_png
from airflow_kling.media.reframe import plan

RED = (200, 30, 30)
PAPER = (250, 249, 246)
BLUE_TINT, AMBER_TINT = (228, 236, 247), (251, 238, 217)


def encoded(picture, picture_format="JPEG", orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, exif=exif)
    return buffer


def like(drawing, color, distance=12):
    """Return which pixels are of about that colour."""
    return (abs(numpy.asarray(drawing).astype(int) - color) <= distance).all(axis=2)


def share(drawing, color):
    return like(drawing, color).mean()


def is_like(drawing, place, color):
    return bool(like(drawing, color)[place[1], place[0]])


# --- the table --------------------------------------------------------------------------------------------------------


def test_table_of_a_crop_and_one_pass():
    lines = as_text(plan(1080, 1920, aspect_ratio="16:9")).splitlines()
    assert lines == [
        "picture  1080 x 1920 px",
        "target   16:9, anchor center, fit auto",
        "crop     1080 x 1822 px from (0, 49): 5.1% of the height cut off",
        "",
        "pass     up      down    left    right   area   picture (estimate)",
        "1        0       0       0.9995  0.9996  3.00x  1080 x 1822 px -> ~3239 x 1822 px",
        "",
        "result   ~3239 x 1822 px",
        "price    8 units, $0.028 at Kling's list price (1 pass)",
    ]


def test_table_of_passes_that_end_in_a_cut_and_a_size():
    text = as_text(plan(1000, 1999, size=(1600, 1000), fit="passes", anchor=(0.2, 0.5), n=3))
    assert "target   1600x1000 px, anchor 0.2,0.5, fit passes" in text
    assert "crop     none" in text
    assert "\n2 " in text
    assert "result   1600 x 1000 px, scaled to exactly this" in text
    assert "price    32 units, $0.112 at Kling's list price (2 passes, 3 pictures in the last)" in text


def test_table_of_nothing_to_buy():
    text = as_text(plan(3000, 2001, aspect_ratio="3:2", anchor="top"))
    assert "crop     3000 x 2000 px from (0, 0): 1 px of the height cut off" in text
    assert "result   3000 x 2000 px" in text
    assert "price    nothing: no pass is needed" in text


def test_numbers_are_json():
    todo = plan(1080, 1920, aspect_ratio="16:9")
    told = json.loads(json.dumps(as_dict(todo)))
    assert told["crop"] == [0, 49, 1080, 1871]
    assert told["passes"] == [
        {
            "up": 0,
            "down": 0,
            "left": 0.9995,
            "right": 0.9996,
            "area": pytest.approx(2.9991),
            "crop": [0, 49, 1080, 1871],
        }
        | {"input": [1080, 1822], "output": [3239, 1822], "n": 1}
    ]
    assert (told["final_size"], told["trim"], told["resize"]) == ([3239, 1822], None, None)
    assert (told["original"], told["lost"]) == ([1079, 0, 2159, 1822], pytest.approx(0.051, abs=0.001))
    assert (told["units"], told["usd"], told["estimated"]) == (8, 0.028, True)


# --- the size ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orientation", "size"), [(None, (400, 300)), (3, (400, 300)), (6, (300, 400)), (8, (300, 400))]
)
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_size_is_that_of_the_upright_picture(orientation, size, picture_format):
    assert upright_size(encoded(Image.new("RGB", (400, 300)), picture_format, orientation), "p") == size


# --- the drawing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [{"aspect_ratio": "16:9"}, {"aspect_ratio": "9:16"}, {"size": (3000, 3000)}], ids=str)
@pytest.mark.parametrize("max_side", [300, 1200])
def test_drawing_fits_and_keeps_the_pictures_shape(wish, max_side):
    drawing = preview(Image.new("RGB", (600, 400), RED), plan(600, 400, **wish), max_side=max_side)
    assert max_side * 0.5 < max(drawing.size) <= max_side
    rows, columns = numpy.nonzero(like(drawing, RED, 40))
    assert numpy.ptp(columns) / numpy.ptp(rows) == pytest.approx(1.5, rel=0.08)


def test_new_canvas_is_told_apart_by_pass_and_the_crop_is_veiled():
    photo = Image.new("RGB", (108, 192), RED)
    once, twice = plan(1080, 1920, aspect_ratio="16:9"), plan(1080, 1920, aspect_ratio="16:9", fit="passes")
    assert share(preview(photo, once), BLUE_TINT) > 0.2
    assert share(preview(photo, once), AMBER_TINT) < 0.02
    assert share(preview(photo, twice), AMBER_TINT) > 0.1
    veiled = tuple(round(0.28 * a + 0.72 * b) for a, b in zip(RED, PAPER, strict=True))
    drawing = preview(photo, once)
    assert is_like(drawing, (drawing.width // 2, drawing.width // 30 + 6), veiled)


def test_what_is_left_can_be_drawn_too():
    rest = plan(1080, 1920, aspect_ratio="16:9", fit="passes").after(1024, 1024)
    assert share(preview(Image.new("RGB", (100, 100), RED), rest), RED) > 0.2
    assert share(preview(Image.new("RGB", (100, 100), RED), rest.after(1820, 1024)), RED) > 0.5


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_png_of_a_turned_picture(mode):
    stream = encoded(Image.new(mode, (800, 450)), "JPEG", 6)
    width, height = upright_size(stream, "p")
    png = preview_png(stream, "p", plan(width, height, aspect_ratio="1:1"))
    with Image.open(io.BytesIO(png)) as drawing:
        assert drawing.format == "PNG"
        assert max(drawing.size) <= MAX_SIDE


def test_png_of_a_transparent_picture_is_on_white():
    stream = encoded(Image.new("RGBA", (400, 400), (0, 0, 0, 0)), "PNG")
    png = preview_png(stream, "p", plan(400, 400, aspect_ratio="2:1"))
    with Image.open(io.BytesIO(png)) as drawing:
        assert is_like(drawing, (drawing.width // 2, drawing.height // 3), (255, 255, 255))


def test_damaged_picture():
    whole = encoded(Image.effect_noise((400, 400), 90), "PNG").getvalue()
    with pytest.raises(InputFault, match="undamaged"):
        preview_png(io.BytesIO(whole[: len(whole) // 2]), "p", plan(400, 400, aspect_ratio="2:1"))


def test_damaged_orientation(monkeypatch):
    # Pillow lets an error in a part of EXIF through as it is.
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", lambda image: {}[image])
    with pytest.raises(InputFault, match="undamaged"):
        preview_png(encoded(Image.new("RGB", (400, 400)), "PNG"), "p", plan(400, 400, aspect_ratio="2:1"))
