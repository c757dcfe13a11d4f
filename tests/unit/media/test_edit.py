"""Pictures cut, scaled and pasted over: what is kept of them to the pixel, and what they cost in memory."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import pytest
from PIL import Image, ImageChops, ImageStat

from airflow_kling.api.checks import MAX_IMAGE_BYTES
from airflow_kling.exceptions import KlingInputError
from airflow_kling.media.edit import cut_picture, finish_picture, pasted_size
from airflow_kling.media.reframe import Box, plan


def file_of(image, picture_format="PNG", **options):
    content = io.BytesIO()
    image.save(content, picture_format, **options)
    return content.getvalue()


def ramp(size, mode="RGB"):
    """A picture that is different everywhere."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    return Image.merge("RGB", (across, Image.linear_gradient("L").resize(size), across)).convert(mode)


def sent(encoded):
    return Image.open(io.BytesIO(base64.b64decode(encoded.base64)))


def finished(image, rest, original=None, **options):
    content = finish_picture(io.BytesIO(file_of(image, **options)), rest, original)
    return None if content is None else Image.open(io.BytesIO(content))


def after_one_pass(source, came, /, **target):
    return plan(*source, **target).after(*came)


# -- cutting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "picture_format"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG")],
)
def test_a_part_is_cut_in_the_pictures_own_format(mode, picture_format):
    whole = ramp((400, 500), mode)
    part = sent(cut_picture(file_of(whole, picture_format), Box(50, 60, 350, 460), "it"))
    assert (part.format, part.size) == (picture_format, (300, 400))
    if picture_format == "PNG":
        assert part.convert("RGBA").tobytes() == whole.crop((50, 60, 350, 460)).convert("RGBA").tobytes()


def test_a_part_is_of_the_picture_as_it_is_seen():
    turned = Image.Exif()
    turned[0x0112] = 6
    stored = ramp((500, 400))
    seen = stored.transpose(Image.Transpose.ROTATE_270)
    part = sent(cut_picture(file_of(stored, exif=turned), Box(0, 0, 400, 300), "it"))
    assert part.tobytes() == seen.crop((0, 0, 400, 300)).tobytes()
    assert part.getexif().get(0x0112) is None


def test_sixteen_bits_of_grey_keep_their_greys():
    deep = Image.new("I;16", (400, 400), 32768)
    assert sent(cut_picture(file_of(deep), None, "it")).convert("RGB").getpixel((9, 9)) == (128, 128, 128)


def test_what_is_too_heavy_is_made_lighter():
    heavy = file_of(Image.new("RGB", (2000, 2000)), compress_level=0)
    assert len(heavy) > MAX_IMAGE_BYTES
    assert sent(cut_picture(heavy, None, "it")).size == (2000, 2000)


def test_what_cannot_be_made_light_enough_is_refused(monkeypatch):
    monkeypatch.setattr("airflow_kling.media.edit.MAX_IMAGE_BYTES", 1000)
    with pytest.raises(KlingInputError, match="10 MB"):
        cut_picture(file_of(ramp((400, 400))), Box(0, 0, 300, 300), "it")


@pytest.mark.parametrize("damage", ["torn", "scrambled", "empty"])
def test_a_damaged_picture_is_refused(damage):
    whole = bytearray(file_of(ramp((400, 400))))
    middle = whole.index(b"IDAT") + 30
    whole[middle : middle + 60] = bytes(60)
    data = {"torn": bytes(whole[: len(whole) // 2]), "scrambled": bytes(whole), "empty": b""}[damage]
    with pytest.raises(KlingInputError, match="undamaged"):
        cut_picture(data, Box(0, 0, 300, 300), "it")


# -- finishing -----------------------------------------------------------------------------------------------------


def test_what_is_final_is_left_as_it_is():
    rest = after_one_pass((900, 900), (1600, 900), aspect_ratio="16:9")
    assert finished(ramp((1600, 900)), rest) is None


def test_a_few_pixels_are_cut_off():
    rest = after_one_pass((900, 900), (1608, 900), aspect_ratio="16:9")
    came = ramp((1608, 900))
    assert finished(came, rest).tobytes() == came.crop(rest.crop).tobytes()


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "WEBP"])
def test_a_size_is_met_to_the_pixel(picture_format):
    rest = after_one_pass((900, 900), (1024, 580), size="1600x900")
    made = finished(ramp((1024, 580)), rest, picture_format=picture_format)
    assert (made.size, made.format) == ((1600, 900), "PNG" if picture_format == "PNG" else "JPEG")


@pytest.mark.parametrize(("for_video", "picture_format"), [(True, "JPEG"), (False, "PNG")])
def test_only_for_a_clip_is_a_result_made_lighter(monkeypatch, for_video, picture_format):
    monkeypatch.setattr("airflow_kling.media.edit.MAX_IMAGE_BYTES", 400_000)
    rest = after_one_pass((360, 360), (640, 364), aspect_ratio="16:9", for_video=for_video)
    noise = Image.merge("RGB", [Image.effect_noise((640, 364), spread) for spread in (80, 90, 99)])
    content = finish_picture(io.BytesIO(file_of(noise)), rest)
    assert Image.open(io.BytesIO(content)).format == picture_format
    assert (len(content) <= 400_000) == for_video


# -- pasting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "came", "target", "place", "final"),
    [
        # A smaller result is enlarged to the source's resolution, and the source is there to the pixel.
        ((900, 900), (800, 450), {"aspect_ratio": "16:9"}, (350, 0), (1600, 900)),
        ((900, 900), (1600, 900), {"aspect_ratio": "16:9", "anchor": "left"}, (0, 0), (1600, 900)),
        ((900, 900), (1600, 900), {"aspect_ratio": "16:9", "anchor": "right"}, (700, 0), (1600, 900)),
        ((1600, 900), (800, 600), {"aspect_ratio": "4:3", "anchor": "top"}, (0, 0), (1600, 1200)),
        ((400, 500), (550, 500), {"pixels": (0, 0, 100, 50)}, (100, 0), (550, 500)),
    ],
)
def test_the_original_is_there_to_the_pixel(size, came, target, place, final):
    original = ramp(size)
    rest = after_one_pass(size, came, **target)
    made = finished(Image.new("RGB", came, "red"), rest, file_of(original))
    assert made.size == final
    assert made.crop((*place, place[0] + size[0], place[1] + size[1])).tobytes() == original.tobytes()


def test_a_larger_result_keeps_its_own_resolution():
    original = ramp((900, 900))
    rest = after_one_pass((900, 900), (3200, 1800), aspect_ratio="16:9")
    made = finished(Image.new("RGB", (3200, 1800), "red"), rest, file_of(original))
    assert made.size == (3200, 1800)
    off = ImageChops.difference(made.crop((700, 0, 2500, 1800)), original.resize((1800, 1800)))
    assert max(ImageStat.Stat(off).mean) < 2


@pytest.mark.parametrize("came", [(1600, 900), (1024, 580), (1000, 1000), (3000, 1000), (701, 410), (1608, 904)])
@pytest.mark.parametrize("size", [(900, 900), (612, 816), (1000, 701)])
def test_whatever_came_back_the_aspect_is_kept(size, came):
    rest = after_one_pass(size, came, aspect_ratio="16:9")
    width, height = pasted_size(rest, rest.final_size[0])
    assert abs(width * 9 - height * 16) <= 16
    made = finished(Image.new("RGB", came, "red"), rest, file_of(ramp(size)))
    assert made.size == (width, height)


@pytest.mark.parametrize(
    ("mode", "options", "shows"),
    [
        ("RGBA", {}, "red"),
        ("P", {"transparency": 0}, "red"),
        ("RGB", {"transparency": (0, 0, 0)}, "red"),
        ("LA", {}, "red"),
        ("RGB", {}, "black"),
        ("P", {}, "black"),
    ],
)
@pytest.mark.parametrize("came", [(1600, 900), (1700, 956)])
def test_through_what_is_clear_the_result_shows(mode, options, shows, came):
    original = Image.new(mode, (900, 900), 0)
    rest = after_one_pass((900, 900), came, aspect_ratio="16:9")
    made = finished(Image.new("RGB", came, "red"), rest, file_of(original, **options)).convert("RGB")
    assert made.getpixel((made.width // 2, made.height // 2)) == {"red": (255, 0, 0), "black": (0, 0, 0)}[shows]


def test_another_original_is_not_pasted():
    rest = after_one_pass((900, 900), (1600, 900), aspect_ratio="16:9")
    with pytest.raises(KlingInputError, match="put it back"):
        finished(Image.new("RGB", (1600, 900)), rest, file_of(ramp((800, 900))))


def test_24_megapixels_take_a_few_copies():
    """A copy of the source has 72 MB, one of the result 192; measured in a process of its own, for a peak stays."""
    code = (
        "import io, resource; from PIL import Image\n"
        "from airflow_kling.media.edit import finish_picture; from airflow_kling.media.reframe import plan\n"
        "def file_of(size):\n"
        "    content = io.BytesIO(); Image.new('RGB', size).save(content, 'JPEG'); return content.getvalue()\n"
        "original, came = file_of((4000, 6000)), file_of((1024, 576))\n"
        "rest = plan(4000, 6000, aspect_ratio='16:9', fit='passes').after(1024, 576)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "finish_picture(io.BytesIO(came), rest, original)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3 * 192
