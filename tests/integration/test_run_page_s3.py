"""What the run page reads of a bucket: below its root alone, and what changed is another file."""

from __future__ import annotations

import pytest

from airflow_kling.hooks.storage import storage_path
from airflow_kling.plugins.files import MediaFault, open_media, read_roots

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_bucket_is_read_below_its_root(bucket):
    roots = read_roots(bucket.uri)
    place = f"{bucket.uri}a.png"
    tags = set()
    for content in (PNG + b"one", PNG + b"two"):
        storage_path(place).write_bytes(content)
        for _ in range(2):
            with open_media(place, roots) as file:
                assert (file.stream.read(), file.size, file.content_type) == (content, len(content), "image/png")
            tags.add(file.tag)
    assert len(tags) == 2
    storage_path(f"{bucket.uri}page.png").write_bytes(b"<html>")
    storage_path(bucket.uri.replace("/a/prefix/", "/b.png")).write_bytes(PNG)
    refused = {f"{bucket.uri}page.png": 415, f"{bucket.uri}b.png": 404, bucket.uri.replace("/a/prefix/", "/b.png"): 403}
    for uri, status in refused.items():
        with pytest.raises(MediaFault) as caught, open_media(uri, roots):
            pass
        assert caught.value.status == status
