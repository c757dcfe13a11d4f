"""Where results will go is found out before anything is paid."""

from __future__ import annotations

import pytest

from airflow_kling.exceptions import KlingInputError
from airflow_kling.operators.kling import KlingExpandImageOperator

URL = "https://example.com/cat.png"


@pytest.mark.parametrize(
    "changes", [{"output_path": "file"}, {"output_name": "../{index}"}, {"output_path": "nonesuch://bucket/prefix"}]
)
def test_a_place_that_cannot_be_written_to_costs_nothing(serve, connect, context, tmp_path, changes):
    server = serve("submitted")
    connect(server)
    (tmp_path / "file").write_bytes(b"")
    fields = {"output_path": str(tmp_path)} | changes
    if fields["output_path"] == "file":
        fields["output_path"] = str(tmp_path / "file" / "below")
    with pytest.raises((KlingInputError, ValueError)):
        KlingExpandImageOperator(task_id="t", image=URL, up=0.5, **fields).execute(context)
    assert [seen for seen in server.requests if seen.method == "POST"] == []
