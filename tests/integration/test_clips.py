"""A picture, a clip of it and a longer clip of that, through real Airflow."""

from __future__ import annotations

from pathlib import Path
from urllib.request import url2pathname

import av


def test_expansion_to_clip_to_longer_clip(kling_emulator, run_dag, photograph, tmp_path):
    run = run_dag(
        "kling_clips",
        "extend",
        {},
        AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parent / "dags"),
        AIRFLOW_CONN_KLING_DEFAULT=kling_emulator.connection_uri("kling"),
        KLING_TEST_PICTURES=str(photograph),
        KLING_TEST_OUT=str(tmp_path / "out"),
    )
    assert run.code == 0, run.log[-4000:]
    (row,) = run.result["outputs"]
    assert (row["kind"], row["duration"]) == ("video", 10.041)
    with av.open(url2pathname(row["uri"].removeprefix("file://"))) as container:
        (stream,) = container.streams
        # 600x400, a fifth higher, and in 720p.
        assert stream.width / stream.height == 600 / 480
    creates = kling_emulator.state.ledger()["creates"]
    families = ["image-expansion", "image-generation", "image-to-video", "video-extension"]
    assert sorted(row["family"] for row in creates) == sorted([*families, "image-generation", "image-generation"])
    assert len({row["external_task_id"] for row in creates}) == 6
    assert "pool_slots" not in run.log
    assert kling_emulator.url not in str(run.result)
