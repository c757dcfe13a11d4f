"""Expansion by aspect, size or pixels: what comes out, what is refused before it is paid, what is reused."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from PIL import Image

from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.exceptions import KlingConnectionError, KlingInputError, KlingTaskFailed
from airflow_kling.operators.kling import KlingExpandImageOperator

PORTRAIT = (306, 544)
WIDE = {"aspect_ratio": "16:9"}
TWO_PASSES = {"aspect_ratio": "16:9", "fit": "passes"}


class Store(dict):
    """``context["task_state_store"]`` of Airflow 3.3: JSON, None for what is not there."""

    def get(self, key, default=None):
        return json.loads(self[key]) if key in self else default

    def set(self, key, value):
        self[key] = json.dumps(value)


@pytest.fixture(scope="module")
def server():
    with EmulatorServer(EmulatorSettings(latency=0.0, engine="reflect", quota=None)) as server:
        yield server


@pytest.fixture
def kling(server, monkeypatch, sleeps):
    server.state.reset()
    sleeps.meanwhile = server.wait_for_pictures
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", server.connection_uri("kling"))
    return server


@pytest.fixture
def source(tmp_path):
    """Write a picture, and return its path."""

    def write(size=PORTRAIT, name="source.png", mode="RGB", colour="olive", **options):
        path = tmp_path / name
        Image.new(mode, size, colour).save(path, **options)
        return str(path)

    return write


@pytest.fixture
def told(monkeypatch, caplog):
    """The operator's log, which Airflow 3 sends past the logging module."""
    monkeypatch.setattr(KlingExpandImageOperator, "log", logging.getLogger("told"), raising=False)
    caplog.set_level(logging.INFO, "told")
    return caplog


@pytest.fixture
def expand(kling, context, tmp_path):
    """Make an operator and run it; returns the manifest."""

    def run(image, **options):
        options = {"task_id": "expand", "output_path": str(tmp_path / "out")} | options
        return KlingExpandImageOperator(image=image, **options).execute(context)

    return run


def creates(kling):
    return [row for row in kling.state.ledger()["creates"] if row["task_id"]]


def opened(row):
    with Image.open(row["uri"].removeprefix("file://")) as image:
        image.load()
        assert image.size == (row["width"], row["height"])
    return image


def is_of(image, aspect):
    """Return whether a picture has an aspect to within a pixel."""
    wide, high = Fraction(aspect.replace(":", "/")).as_integer_ratio()
    return abs(image.width * high - image.height * wide) <= max(wide, high)


# -- what comes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "options", "passes", "final"),
    [
        ((400, 500), WIDE, 1, (889, 500)),
        (PORTRAIT, TWO_PASSES, 2, (967, 544)),
        (PORTRAIT, WIDE, 1, None),  # a crop of at most six hundredths makes one pass enough
        (PORTRAIT, {"aspect_ratio": 1.0, "anchor": "0.5,0.9"}, 1, (544, 544)),
        ((800, 400), {"aspect_ratio": "9:16", "fit": "crop"}, 1, None),
        ((400, 500), {"size": "640x360"}, 1, (640, 360)),
        ((400, 500), {"pixels": {"left": "100", "right": "50"}}, 1, (550, 500)),
        ((400, 500), {"pixels": ("0", "0", "100", "50")}, 1, (550, 500)),
        ((300, 300), {"up": 1, "down": 1, "left": 1, "right": 1, "fit": "passes"}, 2, (900, 900)),
        ((300, 300), {"up": 1, "down": 1, "left": 1, "right": 1, "fit": "crop"}, 1, None),
    ],
)
def test_the_picture_becomes_what_is_asked_for(kling, expand, source, size, options, passes, final):
    made = expand(source(size), **options)
    assert [row["n"] for row in creates(kling)] == [1] * passes
    assert made["units"] == 8.0 * passes
    assert len(made.get("passes", [made["task_id"]])) == passes
    [image] = map(opened, made["outputs"])
    if final:
        assert max(abs(image.width - final[0]), abs(image.height - final[1])) <= 1
    if "aspect_ratio" in options:
        assert is_of(image, str(options["aspect_ratio"]))


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((400, 500), {"left": 0.25, "up": 0.5}),
        ((400, 500), WIDE | {"anchor": "right"}),
        (PORTRAIT, WIDE),
        (PORTRAIT, TWO_PASSES | {"anchor": "0.3,0.5"}),
        ((800, 400), {"aspect_ratio": "9:16", "fit": "crop"}),
        ((400, 500), {"size": "640x360", "preserve_original": True}),
        ((320, 340), {"up": 1, "left": 1, "right": 1, "fit": "passes"}),
        ((640, 360), WIDE),  # needs no pass
    ],
)
def test_the_border_is_where_the_source_lies(expand, source, monkeypatch, size, options):
    from airflow_kling.emulator import pictures

    def pad(picture, up, down, left, right, **_):
        width, height, x, y = pictures.expanded_size(*picture.size, up, down, left, right)
        canvas = Image.new("RGB", (width, height), "black")
        canvas.paste(picture, (x, y))
        # In a resolution of its own, as Kling's.
        return canvas.resize((round(width * 1.25), round(height * 1.25)))

    monkeypatch.setattr(pictures, "expand", pad)
    output = expand(source(size, colour="white"), **options)["outputs"][0]
    image = opened(output)
    seen = image.convert("L").point(lambda shade: 255 * (shade > 127)).getbbox()
    shown = [min(1.0, max(0.0, share)) for share in output["border"]]
    for at, share in enumerate(shown):
        assert share * image.size[at % 2] == pytest.approx(seen[at], abs=2.5)
    left, top, right, bottom = output["border"]
    # All of it lies there, in its own shape, what is cut off included.
    aspect = (right - left) * image.width / ((bottom - top) * image.height)
    assert aspect == pytest.approx(size[0] / size[1], rel=0.01)


@pytest.mark.parametrize("came", [(1024, 1024), (1371, 771), (1000, 560), (1600, 1000), (700, 410)])
@pytest.mark.parametrize("preserve", [False, True])
def test_whatever_size_comes_back_the_aspect_is_kept(kling, expand, source, monkeypatch, came, preserve):
    from airflow_kling.emulator import pictures

    real = pictures.expand
    monkeypatch.setattr(pictures, "expand", lambda *given, **options: real(*given, **options).resize(came))
    made = expand(source((612, 816)), **WIDE, preserve_original=preserve)
    image = opened(made["outputs"][0])
    assert is_of(image, "16:9")
    assert made["outputs"][0].get("edited", False) == (not is_of(Image.new("1", came), "16:9") or preserve)
    if preserve:
        assert min(image.size) >= 0.9 * 816


def test_a_second_pass_is_planned_from_what_came_back(kling, expand, source, monkeypatch):
    from airflow_kling.emulator import pictures

    real = pictures.expand

    def one_k(*given, **options):
        image = real(*given, **options)
        image.thumbnail((600, 600))
        return image

    monkeypatch.setattr(pictures, "expand", one_k)
    made = expand(source((612, 1088)), **TWO_PASSES)
    assert len(creates(kling)) == 2
    assert is_of(opened(made["outputs"][0]), "16:9")
    assert max(made["outputs"][0]["width"], made["outputs"][0]["height"]) <= 600


def test_several_pictures_of_different_sizes(kling, expand, source, monkeypatch):
    from airflow_kling.emulator import pictures

    real, sizes = pictures.expand, [(1200, 700), (1024, 576), (640, 480)]
    monkeypatch.setattr(
        pictures, "expand", lambda *given, seed, **options: real(*given, seed=seed, **options).resize(sizes[seed % 3])
    )
    made = expand(source((400, 500)), **WIDE, n="3", pool_slots=3)
    assert [row["n"] for row in creates(kling)] == [3]
    assert len({image.size for image in map(opened, made["outputs"])}) == 3
    assert all(is_of(image, "16:9") for image in map(opened, made["outputs"]))


def test_only_the_last_pass_makes_several(kling, expand, source):
    made = expand(source(), **TWO_PASSES, n=2, pool_slots=2)
    assert [row["n"] for row in creates(kling)] == [1, 2]
    assert (len(made["outputs"]), made["units"]) == (2, 24.0)


def test_webp_results_are_gone_on_with(kling, expand, source, monkeypatch):
    from airflow_kling.emulator import pictures

    def webp(image):
        content = io.BytesIO()
        image.save(content, "WEBP")
        return content.getvalue()

    monkeypatch.setattr(pictures, "encode_png", webp)
    made = expand(source(), **TWO_PASSES)
    assert len(creates(kling)) == 2
    assert is_of(opened(made["outputs"][0]), "16:9")


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("turned.jpg", "RGB", {"exif": TURNED}),
        ("cmyk.jpg", "CMYK", {}),
        ("grey.jpg", "L", {}),
        ("palette.png", "P", {}),
        ("clear.png", "RGBA", {}),
        ("clear-palette.png", "P", {"transparency": 0}),
        ("clear-colour.png", "RGB", {"transparency": (1, 2, 3)}),
        ("deep.png", "I;16", {}),
    ],
)
def test_sources_of_every_kind(kling, expand, source, name, mode, options):
    size = (500, 400) if "exif" in options else (400, 500)
    colour = {"I;16": 32768, "P": 1, "L": 128}.get(mode, "olive")
    made = expand(source(size, name, mode, colour, **options), **WIDE, preserve_original=True)
    image = opened(made["outputs"][0]).convert("RGB")
    assert image.size == (889, 500)
    assert len(creates(kling)) == 1
    if mode == "I;16":
        assert image.getpixel((444, 250)) == (128, 128, 128)


def test_the_original_is_pasted_back_pixel_by_pixel(kling, expand, tmp_path, monkeypatch):
    from airflow_kling.emulator import pictures

    path = tmp_path / "noise.png"
    noise = Image.effect_noise((600, 800), 90).convert("RGB")
    noise.save(path)
    real = pictures.expand
    monkeypatch.setattr(pictures, "expand", lambda *given, **options: real(*given, **options).resize((711, 400)))
    made = expand(str(path), **WIDE, preserve_original=True)
    image = opened(made["outputs"][0])
    assert (image.size, made["outputs"][0]["edited"]) == ((1422, 800), True)
    assert image.crop((411, 0, 1011, 800)).tobytes() == noise.tobytes()


def test_no_pass_is_needed(kling, expand, source, tmp_path):
    image = source((1280, 720))
    made = expand(image, **WIDE)
    assert (made["task_id"], made["units"], creates(kling)) == (None, 0.0, [])
    assert Path(made["outputs"][0]["uri"].removeprefix("file://")).read_bytes() == Path(image).read_bytes()
    with pytest.raises(KlingInputError, match="output_path"):
        expand(image, **WIDE, output_path=None)
    assert creates(kling) == []


def test_a_turned_picture_that_needs_no_pass_is_stored_upright(kling, expand, source):
    made = expand(source((720, 1280), "turned.jpg", exif=TURNED), **WIDE)
    assert opened(made["outputs"][0]).size == (1280, 720)
    assert made["outputs"][0]["edited"]


@pytest.mark.parametrize("for_video", [True, False])
def test_a_clip_can_be_made_of_a_heavy_result(kling, expand, tmp_path, monkeypatch, for_video):
    monkeypatch.setattr("airflow_kling.media.edit.MAX_IMAGE_BYTES", 400_000)
    path = tmp_path / "noise.png"
    Image.merge("RGB", [Image.effect_noise((400, 500), spread) for spread in (80, 90, 99)]).save(path)
    made = expand(str(path), **WIDE, preserve_original=True, for_video=for_video)
    assert (made["outputs"][0]["size_bytes"] <= 400_000) == for_video
    assert is_of(opened(made["outputs"][0]), "16:9")


def test_a_heavy_source_is_made_lighter(kling, expand, tmp_path):
    path = tmp_path / "noise.png"
    Image.new("RGB", (1900, 2000)).save(path, compress_level=0)
    assert path.stat().st_size > 10 * 1024 * 1024
    made = expand(str(path), **WIDE)
    assert is_of(opened(made["outputs"][0]), "16:9")
    assert len(creates(kling)) == 1


def test_one_result_is_the_next_ones_source(kling, expand, source):
    first = expand(source((400, 500)), aspect_ratio="4:3", n=2, pool_slots=2)
    second = expand(first, image_index=1, task_id="second", **WIDE, kling_conn_id="kling_default")
    assert is_of(opened(second["outputs"][0]), "16:9")


# -- a source on the web -------------------------------------------------------------------------------------------


def served(serve, content, *, redirect=None):
    web = serve("submitted")
    web.files["/photo.png"] = web._bytes(200, content)
    if redirect:
        web.files["/moved"] = web._bytes(302, b"", {"Location": redirect})
    return web


def test_a_link_is_read_for_its_size_and_sent_as_a_link(kling, expand, source, serve):
    web = served(serve, Path(source((400, 500))).read_bytes(), redirect="/photo.png")
    assert is_of(opened(expand(f"{web.url}/moved", **WIDE)["outputs"][0]), "16:9")
    assert len(creates(kling)) == 1


@pytest.mark.parametrize(
    ("path", "allowed", "error", "said"),
    [
        ("/photo.png", False, KlingConnectionError, "private address"),
        ("/none", True, KlingConnectionError, "picture of the URL"),
        ("/elsewhere", True, KlingConnectionError, "another scheme"),
        ("/heavy", True, KlingInputError, "50 MB"),
        ("/text", True, KlingInputError, "JPG or PNG"),
    ],
)
def test_a_link_that_cannot_be_read_costs_nothing(
    kling, expand, source, serve, monkeypatch, path, allowed, error, said
):
    web = serve("submitted")
    web.files[f"{path}?token=secret"] = {
        "/photo.png": lambda: web._bytes(200, Path(source((400, 500))).read_bytes()),
        "/none": lambda: web._bytes(404, b""),
        "/elsewhere": lambda: web._bytes(302, b"", {"Location": "ftp://127.0.0.1/photo.png"}),
        "/heavy": lambda: web._bytes(200, bytes(50 * 1024 * 1024 + 1)),
        "/text": lambda: web._bytes(200, b"no picture"),
    }[path]()
    if not allowed:
        fields = json.loads(kling.connection_uri("kling"))
        fields["extra"]["allow_private_hosts"] = False
        monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", json.dumps(fields))
    with pytest.raises(error, match=said) as raised:
        expand(f"{web.url}{path}?token=secret", **WIDE)
    assert "secret" not in str(raised.value)
    assert creates(kling) == []


# -- what is refused before it is paid -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("aspect_ratio", {"aspect_ratio": "200:1", "for_video": False}),
        ("aspect_ratio", {"aspect_ratio": "3:1"}),
        ("aspect_ratio", {"aspect_ratio": "16:9", "fit": "fail"}),
        ("aspect_ratio", {"aspect_ratio": "wide"}),
        ("anchor", {"aspect_ratio": "16:9", "anchor": "1.2,0.5"}),
        ("anchor", {"pixels": (0, 0, 9, 9), "anchor": "top"}),
        ("wait_for_completion", TWO_PASSES | {"wait_for_completion": False}),
        ("output_path", TWO_PASSES | {"output_path": None}),
        ("output_path", WIDE | {"output_path": "file"}),
        ("preserve_original", WIDE | {"preserve_original": True, "output_path": ""}),
        ("output_name", WIDE | {"n": 2, "output_name": "all-alike", "pool_slots": 2}),
        ("output_name", TWO_PASSES | {"n": 2, "output_name": "all-alike", "pool_slots": 2}),
        ("output_name", TWO_PASSES | {"output_name": "../{index}"}),
        ("preserve_original", {"aspect_ratio": "16:9", "preserve_original": True, "wait_for_completion": False}),
        ("size", {"size": "70000x40000", "for_video": False}),
        ("pixels", {"pixels": (-1, 0, 0, 9)}),
        ("n", WIDE | {"n": "10"}),
        ("up", WIDE | {"up": "0.5"}),
        ("prompt", TWO_PASSES | {"prompt": "x" * 2501}),
        ("max_crop", WIDE | {"max_crop": 1}),
    ],
)
@pytest.mark.parametrize("rendered", [False, True])
def test_nothing_is_paid_for_what_is_refused(kling, context, source, tmp_path, field, options, rendered):
    (tmp_path / "file").write_bytes(b"")
    options = {"output_path": str(tmp_path / "out")} | options
    if options["output_path"] == "file":
        options["output_path"] = str(tmp_path / "file" / "below")
    late = {
        name: value
        for name, value in options.items()
        if rendered and name in KlingExpandImageOperator.template_fields and value is not None
    }
    image = source()

    def run():
        parsed = options | dict.fromkeys(late, "{{ params.given }}")
        operator = KlingExpandImageOperator(task_id="t", image=image, **parsed)
        for name, value in late.items():
            setattr(operator, name, value)
        operator.execute(context)

    with pytest.raises(KlingInputError) as raised:
        run()
    assert field in raised.value.field
    assert kling.state.ledger()["creates"] == []


@pytest.mark.parametrize(
    ("size", "options", "field"),
    [
        ((3000, 3000), {"size": (20000, 12000)}, "size"),
        ((8000, 12000), {"aspect_ratio": "16:9", "preserve_original": True, "fit": "passes"}, "preserve_original"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_nothing_is_paid_for_what_no_memory_holds(kling, expand, source, size, options, field):
    image = source(size, mode="1", colour=1)
    with pytest.raises(KlingInputError) as raised:
        expand(image, **options)
    assert raised.value.field == field
    assert kling.state.ledger()["creates"] == []


@pytest.mark.parametrize(
    ("content", "options"),
    [(b"", WIDE), (b"GIF89a", WIDE), ("torn", WIDE), ("scrambled", WIDE | {"preserve_original": True})],
)
def test_nothing_is_paid_for_a_broken_source(kling, expand, source, content, options):
    path = Path(source((400, 500)))
    whole = bytearray(path.read_bytes())
    if content == "scrambled":
        middle = whole.index(b"IDAT") + 20
        whole[middle : middle + 40] = bytes(40)
    path.write_bytes({"torn": whole[:-20], "scrambled": whole}.get(content, content))
    with pytest.raises(KlingInputError):
        expand(str(path), **options)
    assert kling.state.ledger()["creates"] == []


# -- parse time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"pixels": {"left": "{{ params.up }}"}},
        {"pixels": ["{{ params.up }}", 0, 0, 0]},
        {"size": ("{{ params.up }}", 720), "output_path": "out"},
        {"aspect_ratio": "16:9", "anchor": ("{{ params.up }}", 0.5)},
        {"aspect_ratio": "{{ params.up }}", "up": "{{ params.up }}"},
    ],
)
def test_templates_are_left_for_later(options):
    KlingExpandImageOperator(task_id="t", image="a.png", **options)


def test_what_is_rendered_to_nothing_is_not_given(kling, context, source, tmp_path):
    operator = KlingExpandImageOperator(
        task_id="t",
        image=source((400, 500)),
        aspect_ratio="16:9",
        output_path=str(tmp_path),
        **dict.fromkeys(["size", "pixels", "prompt", "anchor", "callback_url"], "{{ params.none }}"),
    )
    for name in ("size", "pixels", "prompt", "anchor", "callback_url"):
        setattr(operator, name, "")
    assert is_of(opened(operator.execute(context)["outputs"][0]), "16:9")


# -- dry_run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TWO_PASSES, ["16 units", "16:9", "Nothing was sent"]),
        ({"up": 0.5}, ["8 units", "Nothing was sent"]),
        ({"up": 0.5, "n": 3}, ["24 units", "Nothing was sent"]),
    ],
)
def test_dry_run_tells_the_price_and_sends_nothing(kling, source, told, options, said):
    KlingExpandImageOperator(task_id="t", image=source(), **options).dry_run()
    assert [text for text in said if text not in told.text] == []
    assert kling.state.ledger()["creates"] == []


def test_dry_run_of_every_operator(kling, source, told):
    from airflow_kling.operators import kling as operators

    image = source((600, 600))
    makers = {
        "KlingExpandImageOperator": {"image": image, **WIDE},
        "KlingImageToVideoOperator": {"image": image},
        "KlingTextToVideoOperator": {"prompt": "a cat"},
        "KlingExtendVideoOperator": {"video_id": "v1"},
        "KlingGenerateImageOperator": {"prompt": "a cat"},
        "KlingTaskOperator": {"family": "text-to-video", "fields": {"prompt": "a cat"}},
        "KlingExpandBatchOperator": {"images": [image], "output_path": "out", **WIDE},
        "KlingImageToVideoBatchOperator": {"images": [image], "output_path": "out"},
    }
    made = {name for name in operators.__all__ if hasattr(getattr(operators, name), "estimate")}
    assert made == set(makers)
    for name, fields in makers.items():
        operator = getattr(operators, name)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(operator, "log", logging.getLogger("told"), raising=False)
            told.clear()
            operator(task_id=name, **fields).dry_run()
        assert "Nothing was sent" in told.text, name
    assert kling.state.ledger()["creates"] == []


# -- reuse ---------------------------------------------------------------------------------------------------------


def test_another_finish_does_not_reuse_the_file(kling, expand, source, context):
    image, made = source((400, 500)), []
    variants = [
        WIDE,
        WIDE | {"preserve_original": True},
        WIDE | {"n": 2},
        WIDE | {"watermark": True},
        {"size": "640x360"},
    ]
    for number, options in enumerate([*variants, *variants]):
        context["ti"].run_id = f"run{number}"
        made.append(expand(image, **options, reuse="30d", pool_slots=options.get("n", 1)))
        assert len(creates(kling)) == min(number + 1, len(variants))
    tasks = [each["task_id"] for each in made]
    assert tasks[: len(variants)] == tasks[len(variants) :]


def test_passes_are_reused_together(kling, expand, source, context):
    image = source()
    first = expand(image, **TWO_PASSES, reuse="1d")
    context["ti"].run_id = "another"
    assert expand(image, **TWO_PASSES, reuse="1d") == first
    assert len(creates(kling)) == 2
    source(colour="navy")
    assert expand(image, **TWO_PASSES, reuse="1d") != first
    assert len(creates(kling)) == 4


# -- the life of the passes ----------------------------------------------------------------------------------------


def test_one_pass_without_any_record_needs_no_source_after_the_wait(kling, context, serve, source, fire):
    web = served(serve, Path(source((400, 500))).read_bytes())
    fields = {"task_id": "t", "image": f"{web.url}/photo.png", "deferrable": True, **WIDE}
    with pytest.raises(TaskDeferred) as deferred:
        KlingExpandImageOperator(**fields).execute(context)
    fire.meanwhile = kling.wait_for_pictures
    del web.files["/photo.png"]
    made = KlingExpandImageOperator(**fields).execute_complete(context, fire(deferred.value.trigger))
    assert made["task_id"] == creates(kling)[0]["task_id"]
    assert len(creates(kling)) == 1


def test_a_source_that_vanished_loses_nothing_at_a_clear(kling, expand, source, context, ti):
    image = source()
    context["task_state_store"] = Store()
    first = expand(image, **TWO_PASSES)
    Path(image).unlink()
    ti.try_number, ti.max_tries = 2, 1
    again = expand(image, **TWO_PASSES)
    assert again["passes"] == first["passes"]
    ti.try_number, ti.max_tries = 3, 2
    with pytest.raises(KlingInputError, match="existing file"):
        expand(image, **TWO_PASSES, on_existing="resubmit")
    assert len(creates(kling)) == 2


def test_a_create_whose_answer_was_lost_is_finished_as_it_was_planned(kling, expand, source, context, monkeypatch):
    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    from airflow_kling.hooks.client import SyncClient

    context["task_state_store"] = Store()
    real = SyncClient.submit
    monkeypatch.setattr(SyncClient, "submit", lambda *given: die(real(*given)))
    options = TWO_PASSES | {"preserve_original": True}
    with pytest.raises(Died):
        expand(source((400, 500)), **options)
    monkeypatch.setattr(SyncClient, "submit", real)
    # By now the source is another one, which needs two passes: what is paid was made of the first.
    with pytest.raises(KlingInputError, match="put it back"):
        expand(source((306, 544)), **options)
    made = expand(source((400, 500)), **options)
    assert len(creates(kling)) == 1
    assert opened(made["outputs"][0]).size == (889, 500)


def test_every_pass_may_wait_for_a_slot_as_long(kling, expand, source, monkeypatch, sleeps):
    import airflow_kling.operators.life as life

    now = [1.8e9]
    monkeypatch.setattr(life, "time", SimpleNamespace(time=lambda: now[0], sleep=lambda seconds: slept(seconds)))

    def slept(seconds):
        sleeps(seconds)
        now[0] += seconds

    real = KlingExpandImageOperator.wait

    def wait(self, submitted):
        end = real(self, submitted)
        now[0] += 5000  # longer than the whole submit_timeout
        kling.state.add_fault({"fault": "concurrency", "on": ["create"], "times": 1})
        return end

    monkeypatch.setattr(KlingExpandImageOperator, "wait", wait)
    expand(source(), **TWO_PASSES, timeout=7200)
    assert len(creates(kling)) == 2


def test_a_pass_that_fails_is_told_and_not_paid_again(kling, expand, source, context):
    context["task_state_store"] = Store()
    kling.state.add_fault({"fault": "fail", "on": ["create"], "times": 1})
    for _ in range(2):
        with pytest.raises(KlingTaskFailed):
            expand(source(), **TWO_PASSES)
    assert len(creates(kling)) == 1


def test_a_kill_tells_of_the_pass_that_is_under_way(kling, expand, source, monkeypatch, told, context, tmp_path):
    from airflow_kling.hooks.client import SyncClient

    operator = KlingExpandImageOperator(task_id="t", image=source(), output_path=str(tmp_path / "out"), **TWO_PASSES)
    real, seen = SyncClient.submit, []

    def submit(client, request):
        told.clear()
        operator.on_kill()
        seen.append((request.external_task_id, told.text))
        return real(client, request)

    monkeypatch.setattr(SyncClient, "submit", submit)
    operator.execute(context)
    assert [external_id in text for external_id, text in seen] == [True, True]


def test_24_megapixels_take_a_few_copies(tmp_path):
    """One copy has 72 MB; measured in a process of its own, for a peak never falls."""
    Image.linear_gradient("L").resize((4000, 6000)).convert("RGB").save(tmp_path / "big.jpg")
    code = (
        "import sys, resource; from airflow_kling.lifecycle.original import read_original; from pathlib import Path\n"
        "from airflow_kling.media.reframe import plan\nfrom PIL import Image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "o = read_original(sys.argv[1], resolve=None, open_path=Path, fetch=None)\n"
        "p = plan(*o.size, aspect_ratio='16:9', fit='crop'); o.cut(p.crop or (0, 0, *o.size))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "big.jpg")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4 * 72
