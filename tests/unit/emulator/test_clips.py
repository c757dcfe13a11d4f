"""The emulator's clips decode to what was asked; its checks and answers of the families beside the expansion."""

from __future__ import annotations

import io
import json
import sys

import av
import numpy as np
import pytest
from PIL import Image

from airflow_kling.api.families import FAMILIES
from airflow_kling.api.requests import (
    ExtendVideoRequest,
    GenerateImageRequest,
    ImageToVideoRequest,
    TextToVideoRequest,
)
from airflow_kling.emulator import clips
from airflow_kling.emulator.making import MAKERS, Studio, Workplace
from airflow_kling.emulator.orders import FoundClip, Job, MadeOutput, Order
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import Dialect
from airflow_kling.emulator.validation import CHECKS, check_create, decode_body

URL = "https://example.com/a.png"
SMALL = (160, 90)


def photograph(photographs):
    with Image.open(photographs / "coffee.png") as image:
        return image.convert("RGB")


def difference(one, other):
    """Return the mean difference of two pictures, of 255."""
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other.resize(one.size), np.float32)).mean())


def decoded(path):
    with av.open(str(path)) as container:
        (stream,) = container.streams
        frames = [frame.to_image() for frame in container.decode(stream)]
        return stream, container.duration / av.time_base, frames


def check(request, fetch=lambda url: (b"", ""), find_clip=lambda video_id: None, **changes):
    fields = json.loads(request.body()) | changes
    return check_create(request.family, fields, fetch, find_clip)


def refusal(request, **changes):
    with pytest.raises(Refusal) as caught:
        check(request, **changes)
    return caught.value


# The files.


@pytest.mark.parametrize(("frames", "text"), [(73, "3.041"), (121, "5.041"), (241, "10.041"), (361, "15.041")])
def test_length_as_the_documents_tell_it(frames, text):
    assert clips.frame_count(round(frames / 24)) == frames
    assert clips.duration_text(frames) == text


@pytest.mark.parametrize(
    ("picture", "mode", "size"),
    [
        ((1920, 1080), "std", (1280, 720)),
        ((2134, 1200), "std", (1280, 720)),
        ((600, 400), "std", (1080, 720)),
        ((400, 600), "pro", (1080, 1620)),
        ((1000, 1000), "std", (720, 720)),
        ((2500, 1000), "std", (1280, 512)),
        ((9, 16), "pro", (1080, 1920)),
        ((16, 9), "4k", (3840, 2160)),
        ((333, 777), "std", (548, 1280)),
    ],
)
def test_size_keeps_the_aspect_within_the_mode(picture, mode, size):
    assert clips.clip_size(*picture, mode) == size


def test_clip_decodes_to_what_was_asked(tmp_path, photographs):
    picture, path = photograph(photographs), tmp_path / "a.mp4"
    assert clips.write_clip(path, clips.camera_move(picture, (240, 160), 49)) == 49
    stream, seconds, frames = decoded(path)
    # PyAV 19 tells it of an open clip alone.
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 24

    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert (stream.width, stream.height, len(frames)) == (240, 160, 49)
    assert abs(seconds - 2) < 0.1
    assert difference(frames[0], picture) < 6
    assert difference(frames[0], frames[-1]) > difference(frames[0], frames[1])


def test_clip_ends_in_its_last_frame(photographs):
    picture = photograph(photographs)
    tail = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    frames = list(clips.camera_move(picture, (240, 160), 25, tail=tail))

    assert difference(frames[0], picture) < 6
    assert difference(frames[-1], tail) < 6


def test_camera_goes_elsewhere_with_another_seed(photographs):
    picture = photograph(photographs)
    ends = [list(clips.camera_move(picture, SMALL, 9, seed=seed)) for seed in (0, 1, 0, -3)]

    assert ends[0][-1].tobytes() == ends[2][-1].tobytes()
    assert ends[0][-1].tobytes() != ends[1][-1].tobytes()
    assert {frame.size for frames in ends for frame in frames} == {SMALL}


def test_the_same_frames_make_the_same_file(tmp_path, photographs):
    picture = photograph(photographs)
    for name in ("a", "b"):
        clips.write_clip(tmp_path / name, clips.camera_move(picture, SMALL, 25))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_extension_goes_on_from_the_last_frame(tmp_path, photographs):
    clips.write_clip(tmp_path / "a.mp4", clips.camera_move(photograph(photographs), SMALL, 25))
    frames = list(clips.continued((tmp_path / "a.mp4").read_bytes(), 2))

    assert len(frames) == 25 + 48
    assert difference(frames[24], frames[25]) < 3


def test_without_x264_it_is_mpeg_4(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "ENCODERS", {"no-such-encoder": {}, "mpeg4": clips.ENCODERS["mpeg4"]})
    clips._encoder.cache_clear()
    try:
        clips.write_clip(tmp_path / "a.mp4", [Image.new("RGB", SMALL, "teal")] * 5)
    finally:
        clips._encoder.cache_clear()
    stream, _, frames = decoded(tmp_path / "a.mp4")
    assert (stream.codec_context.name, len(frames)) == ("mpeg4", 5)


def test_without_pyav_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for use in (lambda: clips.write_clip(tmp_path / "a.mp4", []), lambda: list(clips.read_frames(b""))):
        with pytest.raises(clips.ClipsUnavailable, match=r"airflow-provider-kling\[emulator\]"):
            use()


# What a create asks for.


def test_every_emulated_family_has_a_maker():
    assert CHECKS.keys() == MAKERS.keys()
    assert set(CHECKS) == {"image-expansion", "image-generation", "image-to-video", "text-to-video", "video-extension"}


def test_a_clip_of_a_picture(picture_text, picture_bytes):
    request = ImageToVideoRequest(
        image=picture_text(), image_tail=picture_text(300, 320), model_name="kling-v3", mode="pro", duration=7,
        watermark=True, external_task_id="shop-42",
    )  # fmt: skip
    order, job = check(request)
    assert (order.mode, order.units, order.slots, order.watermark) == ("pro", 5.6, 1, True)
    assert order.external_task_id == "shop-42"
    assert (job.source, job.tail, job.options) == (picture_bytes(), picture_bytes(300, 320), {"seconds": 7})


def test_a_clip_of_a_last_frame_alone(picture_text, picture_bytes):
    _, job = check(ImageToVideoRequest(image_tail=picture_text(), model_name="kling-v1-6", mode="pro"))
    assert (job.source, job.tail) == (picture_bytes(), picture_bytes())


def test_a_clip_of_text():
    order, job = check(TextToVideoRequest(prompt="a cat", model_name="kling-v2-6", mode="pro", sound=True))
    assert (order.units, order.prompt, job.source) == (5.0, "a cat", b"")
    assert job.options == {"seconds": 5, "aspect_ratio": "16:9"}
    assert "silent" in order.note


@pytest.mark.parametrize(("mode", "units"), [("std", 2.0), ("pro", 3.5)])
def test_an_extension(tmp_path, mode, units):
    (tmp_path / "a.mp4").write_bytes(b"clip")
    found = {"v-9": FoundClip(tmp_path / "a.mp4", mode, 5.041)}
    order, job = check(ExtendVideoRequest(video_id="v-9"), find_clip=found.get)
    assert (order.mode, order.units, job.source, job.options) == (mode, units, b"clip", {"seconds": 5})


def test_generated_pictures(picture_text, picture_bytes):
    order, job = check(GenerateImageRequest(prompt="a cat", n=3, image=picture_text(), resolution="2k"))
    assert (order.n, order.slots, order.units, job.source) == (3, 3, 24.0, picture_bytes())
    assert job.options == {"aspect_ratio": "16:9", "resolution": "2k"}
    assert check(GenerateImageRequest(prompt="a cat", model_name="kling-v2-1"))[0].units == 4.0
    assert check(GenerateImageRequest(prompt="a cat", model_name="kling-v1"))[0].units == 0.0


FILM = ImageToVideoRequest(image=URL)
TELL = TextToVideoRequest(prompt="a cat")
DRAW = GenerateImageRequest(prompt="a cat")
EXTEND = ExtendVideoRequest(video_id="v-9")


@pytest.mark.parametrize(
    ("request_", "changes", "code", "named"),
    [
        (FILM, {"image": None}, 1200, "image"),
        (TELL, {"prompt": ""}, 1200, "prompt"),
        (DRAW, {"prompt": None}, 1200, "prompt"),
        (EXTEND, {"video_id": None}, 1200, "video_id"),
        (EXTEND, {}, 1201, "v-9"),
        (FILM, {"image": "data:image/png;base64,QUJD"}, 1201, "data:"),
        (FILM, {"image": "QUJD"}, 1201, "Image format is invalid: image "),
        (FILM, {"image": "QUJD", "image_tail": "QUJD", "model_name": "kling-v3"}, 1201, "image"),
        (FILM, {"duration": 5}, 1201, "duration is invalid: must be a string"),
        (FILM, {"duration": "7"}, 1201, "duration"),
        (FILM, {"sound": True}, 1201, "sound is invalid: must be a string"),
        (FILM, {"sound": "on"}, 1201, "sound"),
        (FILM, {"cfg_scale": "0.5"}, 1201, "cfg_scale is invalid: must be a number"),
        (FILM, {"cfg_scale": True}, 1201, "cfg_scale"),
        (FILM, {"multi_shot": "true"}, 1201, "multi_shot"),
        (FILM, {"mode": "4k"}, 1201, "mode"),
        (FILM, {"image_tail": URL, "camera_control": {"type": "down_back"}}, 1201, "image_tail, camera_control"),
        (FILM, {"model_name": "kling-v9"}, 1203, "model_name"),
        (TELL, {"model_name": "kling-v2-1"}, 1203, "model_name"),
        (TELL, {"aspect_ratio": "4:3"}, 1201, "aspect_ratio"),
        (TELL, {"prompt": "[emulator:typo]"}, 1201, "prompt"),
        (TELL, {"watermark_info": True}, 1201, "watermark_info"),
        (DRAW, {"n": "2"}, 1201, "n is invalid"),
        (DRAW, {"n": 10}, 1201, "n is invalid"),
        (DRAW, {"resolution": "4k"}, 1201, "resolution"),
    ],
)
def test_refused(request_, changes, code, named):
    refused = refusal(request_, **changes)
    assert refused.code == code
    assert named in refused.message


def test_the_longest_extension(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"clip")
    longest, longer = (FoundClip(tmp_path / "a.mp4", "std", seconds) for seconds in (175.0, 175.041))
    check(EXTEND, find_clip=lambda video_id: longest)
    with pytest.raises(Refusal, match="180 seconds"):
        check(EXTEND, find_clip=lambda video_id: longer)


def test_bodies_are_decoded_alike_in_both_dialects(picture_text):
    request = ImageToVideoRequest(image=picture_text())
    for dialect in Dialect:
        fields = decode_body(request.body(), dialect)
        assert check_create(request.family, fields, lambda url: (b"", ""))[1].options == {"seconds": 5}


# What becomes of it.


def place(tmp_path, seed=0, wanted=True):
    directory = tmp_path / "emu-1"
    directory.mkdir(exist_ok=True)
    return Workplace(directory, "reflect", seed, lambda: wanted)


def make(tmp_path, family, job, wanted=True, **order):
    return MAKERS[family](Order(family=FAMILIES[family], **order), job, place(tmp_path, wanted=wanted))


def test_film_of_a_turned_photograph(tmp_path, photographs):
    """A clip of 3 s, the shortest there is: upright, with the picture as its first frame and a marked twin."""
    picture, exif = photograph(photographs).resize((300, 400)), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    (output,) = make(tmp_path, "image-to-video", Job(buffer.getvalue(), {"seconds": 3}))
    stream, seconds, frames = decoded(output.path)

    assert (output.fields, output.name) == ({"id": "emu-1-clip-0", "duration": "3.041"}, "0.mp4")
    assert (stream.width, stream.height, len(frames)) == (720, 960, 73)
    assert abs(seconds - 3) < 0.1
    assert difference(frames[0], picture) < 6


def test_a_watermark_makes_a_twin(tmp_path, photographs):
    clips.write_clip(tmp_path / "a.mp4", clips.camera_move(photograph(photographs), SMALL, 5))
    job = Job((tmp_path / "a.mp4").read_bytes(), {"seconds": 1})
    (output,) = make(tmp_path, "video-extension", job, watermark=True)
    plain, marked = (decoded(path)[2] for path in (output.path, output.watermark_path))

    assert len(plain) == len(marked) == 29
    assert difference(plain[-1], marked[-1]) > 0.5
    assert output.watermark_name == "0-watermark.mp4"


@pytest.mark.parametrize(
    ("aspect", "resolution", "size"),
    [
        ("16:9", "1k", (1360, 768)),
        ("1:1", "1k", (1024, 1024)),
        ("9:16", "1k", (768, 1360)),
        ("1:1", "2k", (2048, 2048)),
    ],
)
def test_generated_pictures_have_the_asked_shape(tmp_path, picture_bytes, aspect, resolution, size):
    job = Job(picture_bytes(), {"aspect_ratio": aspect, "resolution": resolution})
    made = make(tmp_path, "image-generation", job, n=2, prompt="a cat")
    shown = [Image.open(output.path) for output in made]

    assert [picture.size for picture in shown] == [size, size]
    assert shown[0].tobytes() != shown[1].tobytes()


def test_prompts_differ(tmp_path):
    job = Job(b"", {"aspect_ratio": "1:1", "resolution": "1k"})
    pictures = [make(tmp_path, "image-generation", job, prompt=prompt)[0].path.read_bytes() for prompt in "aba"]
    assert pictures[0] == pictures[2] != pictures[1]


def test_nothing_is_made_that_nobody_wants(tmp_path, picture_bytes):
    assert make(tmp_path, "image-generation", Job(b"", {"aspect_ratio": "1:1", "resolution": "1k"}), wanted=False) == []
    assert make(tmp_path, "image-to-video", Job(picture_bytes(), {"seconds": 15}), wanted=False, mode="4k")


FILM_FAMILY = FAMILIES["image-to-video"]


@pytest.fixture
def studio(bench):
    started = []

    def start(**settings):
        b = bench(**settings)
        started.append(Studio(b.state))
        return b, started[-1]

    yield start
    for one in started:
        one.close()


def submit(b, studio, job=Job(b"", {"seconds": 3}), **fields):  # noqa: B008 - it is frozen
    accepted = b.state.create(Order(family=FILM_FAMILY, **fields), account="a", dialect=Dialect.KLING)
    studio.start(accepted, job)
    assert studio.join(30)
    b.state.advance(4)
    return b.find(accepted.task.task_id, family=FILM_FAMILY)


@pytest.mark.parametrize("pictures", ["real", "canned"])
def test_without_pyav_the_task_fails_and_says_why(studio, monkeypatch, picture_bytes, pictures):
    b, workshop = studio(pictures=pictures)
    monkeypatch.setitem(sys.modules, "av", None)
    task = submit(b, workshop, Job(picture_bytes(), {"seconds": 3}))
    assert (task.word, task.outputs) == ("failed", ())
    assert "airflow-provider-kling[emulator]" in task.message


@pytest.mark.parametrize("canned", ["pictures", "clips"])
def test_canned_clips(studio, canned):
    b, workshop = studio(**{canned: "canned"})
    first, second = (submit(b, workshop, watermark=marked) for marked in (False, True))
    stream, seconds, frames = decoded(first.outputs[0].path)
    assert (stream.width, stream.height, len(frames)) == (64, 64, 25)
    assert abs(seconds - float(first.outputs[0].fields["duration"])) < 0.01
    assert first.outputs[0].fields["id"] != second.outputs[0].fields["id"]
    assert second.outputs[0].watermark_path


def test_what_a_job_needs_waits_on_disk_and_is_removed(studio, picture_bytes):
    b, workshop = studio()
    task = submit(b, workshop, Job(picture_bytes(), {"seconds": 1}, picture_bytes(300, 320)))
    assert task.word == "succeed"
    assert sorted(path.name for path in (workshop.root / task.task_id).iterdir()) == ["0.mp4"]


class TestFindingAClip:
    @pytest.fixture
    def known(self, bench, tmp_path):
        b = bench()
        order = Order(family=FILM_FAMILY, mode="pro")
        task_id = b.state.create(order, account="a", dialect=Dialect.KLING).task.task_id
        fields = {"id": f"{task_id}-clip-0", "duration": "5.041"}
        b.state.made(task_id, [MadeOutput("0.mp4", tmp_path / "0.mp4", fields)])
        return b, fields["id"]

    def test_by_its_id(self, known, tmp_path):
        b, video_id = known
        assert b.state.find_clip(video_id, account="a") is None
        b.state.advance(4)
        assert b.state.find_clip(video_id, account="a") == FoundClip(tmp_path / "0.mp4", "pro", 5.041)

    @pytest.mark.parametrize("other", ["", "nope", "-clip-0", "{task}", "{task}-clip-1"])
    def test_by_no_other(self, known, other):
        b, video_id = known
        b.state.advance(4)
        assert b.state.find_clip(other.replace("{task}", video_id.removesuffix("-clip-0")), account="a") is None

    def test_of_ones_own_account_and_time(self, known):
        b, video_id = known
        b.state.advance(4)
        assert b.state.find_clip(video_id, account="b") is None
        b.state.advance(30 * 86_400)
        assert b.state.find_clip(video_id, account="a") is None
