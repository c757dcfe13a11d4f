"""The image and video families over real sockets: create, query, download, with the transport of the hook."""

from __future__ import annotations

import base64
import io
import itertools
import json
import sys
import time

import av
import numpy as np
import pytest
import requests
from PIL import Image

from airflow_kling.api.auth import TokenSource
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.gateways import resolve_account
from airflow_kling.api.models import TaskStatus
from airflow_kling.api.requests import (
    AnyRequest,
    ExtendVideoRequest,
    GenerateImageRequest,
    ImageToVideoRequest,
    TextToVideoRequest,
)
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.hooks.client import BearerAuth, SyncClient, make_session
from airflow_kling.hooks.options import TransportOptions

#: Keys and types of a finished clip in Kling's document "Image to Video".
SUCCEEDED = {
    "code": int,
    "message": str,
    "request_id": str,
    "data": {
        "task_id": str,
        "task_status": str,
        "task_status_msg": str,
        "created_at": int,
        "updated_at": int,
        "final_unit_deduction": str,
        "task_result": {"videos": [{"id": str, "url": str, "duration": str}]},
    },
}
#: What the documents list besides, and that example leaves out.
BESIDES = {"task_info": {"external_task_id": str}, "watermark_info": {"enabled": bool}}
KLING, GATEWAY = "kling", "cometapi"


def shape(value):
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def client_of(server, gateway=KLING):
    fields = json.loads(server.connection_uri(gateway))
    names = ("login", "password", "host", "schema", "port")
    account = resolve_account(**{name: fields.get(name) for name in names}, extra=fields["extra"])
    tokens, options = TokenSource(account.credentials), TransportOptions()
    return SyncClient(account, make_session(BearerAuth(tokens, account.base_url), options), tokens, options)


@pytest.fixture(scope="module")
def server():
    with EmulatorServer(EmulatorSettings(latency=0, engine="reflect")) as running:
        yield running


@pytest.fixture(scope="module")
def picture(photographs):
    with Image.open(photographs / "coffee.png") as stored:
        return stored.convert("RGB")


@pytest.fixture(scope="module")
def picture_text(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return base64.b64encode(buffer.getvalue()).decode()


def finish(client, request):
    task = client.submit(request)
    end = time.monotonic() + 60
    while not task.status.ended:
        assert time.monotonic() < end, "it did not end"
        time.sleep(0.02)
        task = client.get_task(task.task_id, request.family.name)
    return task


def download(url):
    return requests.get(url, timeout=10)


def decoded(content, first=0):
    """Return the frames from the given one on, and the seconds."""
    with av.open(io.BytesIO(content)) as container:
        (stream,) = container.streams
        frames = [frame.to_image() for frame in itertools.islice(container.decode(stream), first, None)]
        assert stream.frames == first + len(frames)
        return frames, container.duration / av.time_base


def difference(one, other):
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other.resize(one.size), np.float32)).mean())


@pytest.fixture(scope="module")
def filmed(server, picture_text):
    """A clip of 5 seconds, and how long it took."""
    start = time.process_time()
    request = ImageToVideoRequest(image=picture_text, prompt="steam rises", external_task_id="shop-42")
    return finish(client_of(server), request), time.process_time() - start


def test_picture_to_clip(filmed, picture):
    task, seconds_taken = filmed
    (output,) = task.outputs
    assert (task.status, task.units, task.external_task_id) == (TaskStatus.SUCCEEDED, 1.0, "shop-42")
    assert (output.duration, output.id) == (5.041, f"{task.task_id}-clip-0")
    answer = download(output.url)
    assert answer.headers["content-type"] == "video/mp4"
    frames, seconds = decoded(answer.content)

    assert (len(frames), frames[0].size) == (121, (1080, 720))
    assert abs(seconds - 5) < 0.1
    assert difference(frames[0], picture) < 6
    assert seconds_taken < 6, "a clip of 5 s in 720p takes about 2 s of one core"


@pytest.mark.parametrize(("gateway", "prefix"), [(KLING, "/v1"), (GATEWAY, "/kling/v1")])
def test_its_answer_is_the_documented_one(server, filmed, gateway, prefix):
    url = f"{server.url}{prefix}/videos/image2video/{filmed[0].task_id}"
    answer = requests.get(url, headers={"Authorization": "Bearer emulator-key"}, timeout=10).json()

    assert shape(answer) == SUCCEEDED | {"data": SUCCEEDED["data"] | BESIDES}
    assert answer["data"]["task_status"] == "succeed"
    assert answer["data"]["task_result"]["videos"][0]["duration"] == "5.041"


def test_it_is_found_by_its_own_id_and_listed(server, filmed):
    client = client_of(server)
    assert client.get_task("shop-42", "image-to-video").task_id == filmed[0].task_id
    assert filmed[0].task_id in [task.task_id for task in client.list_tasks("image-to-video")]
    with pytest.raises(ApiFault):
        client.get_task(filmed[0].task_id, "text-to-video")


def test_clip_to_longer_clip(server, filmed):
    source = filmed[0].outputs[0]
    task = finish(client_of(server), ExtendVideoRequest(video_id=source.id, prompt="it cools"))
    (output,) = task.outputs
    frames, seconds = decoded(download(output.url).content, first=120)

    assert (task.units, output.duration, 120 + len(frames)) == (2.0, 10.041, 241)
    assert abs(seconds - 10) < 0.1
    assert frames[0].size == (1080, 720)
    assert difference(frames[0], frames[1]) < 3, "it goes on where the clip ended"
    assert difference(frames[0], frames[-1]) > 3


def test_text_to_clip(server):
    request = TextToVideoRequest(prompt="a lake", aspect_ratio="9:16", model_name="kling-v3", duration=3)
    task = finish(client_of(server, GATEWAY), request)
    answer = download(task.outputs[0].url)
    frames, seconds = decoded(answer.content)

    assert (task.units, len(frames), frames[0].size) == (1.8, 73, (720, 1280))
    assert abs(seconds - 3) < 0.1


def test_generated_pictures_become_a_clip(server):
    client = client_of(server)
    task = finish(client, GenerateImageRequest(prompt="a lake", n=2, aspect_ratio="4:3", model_name="kling-v2-1"))
    answers = [download(output.url) for output in task.outputs]
    shown = [Image.open(io.BytesIO(answer.content)) for answer in answers]

    assert (task.units, [output.index for output in task.outputs]) == (8.0, [0, 1])
    assert [answer.headers["content-type"] for answer in answers] == ["image/png"] * 2
    assert {picture.size for picture in shown} == {(1184, 880)}
    clip = finish(client, ImageToVideoRequest(image=task.outputs[1].url, model_name="kling-v3", duration=3))
    frames, _ = decoded(download(clip.outputs[0].url).content)
    assert difference(frames[0], shown[1]) < 6


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        (ExtendVideoRequest(video_id="nope"), 1201, "video_id"),
        (TextToVideoRequest(prompt="a lake", model_name="kling-v9"), 1203, "model_name"),
        (AnyRequest("text-to-video", {"prompt": "a lake", "duration": "7"}), 1201, "duration"),
        (AnyRequest("image-to-video", {}), 1200, "image"),
        (AnyRequest("avatar", {"image": "https://example.com/a.png"}), 1203, "not emulated"),
    ],
)
def test_refused(server, request_, code, named):
    with pytest.raises(ApiFault) as caught:
        client_of(server).submit(request_)
    assert caught.value.info.code == code
    assert named in caught.value.info.message


def test_what_is_refused_costs_nothing(server):
    rows = server.state.ledger()["creates"]
    assert all(row["units"] == 0 for row in rows if row["outcome"] == "refused")


def test_any_request_makes_a_clip_like_its_own_class(server):
    task = client_of(server).submit(AnyRequest("text-to-video", {"prompt": "a lake [emulator:fail]"}))
    task = client_of(server).get_task(task.task_id, "text-to-video")
    assert task.status is TaskStatus.FAILED


def test_without_pyav_the_task_fails_with_a_hint(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    task = finish(client_of(server), TextToVideoRequest(prompt="a lake"))
    assert (task.status, task.outputs) == (TaskStatus.FAILED, ())
    assert "airflow-provider-kling[emulator]" in task.message


def test_clips_hold_one_slot_and_pictures_n():
    settings = EmulatorSettings(virtual_clock=True, latency=4, pictures="canned", quota=3)
    with EmulatorServer(settings) as server:
        client = client_of(server)
        client.submit(TextToVideoRequest(prompt="a lake"))
        with pytest.raises(ApiFault) as caught:
            client.submit(GenerateImageRequest(prompt="a lake", n=3))
        assert caught.value.info.kind is FaultKind.CONCURRENCY
        client.submit(GenerateImageRequest(prompt="a lake", n=2))
        assert server.state.ledger()["max_slots_in_use"] == 3
