"""What is secret goes, what explains stays."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kling.api.redact import redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhayJ9.c2lnbmF0dXJl"
PICTURE = base64.b64encode(bytes(range(256)) * 2).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain words, 1201: (code) a/b_c-d", "plain words, 1201: (code) a/b_c-d"),
        ("Bearer abcdef123", "Bearer ***"),
        ("authorization: bearer abc.def~ghi+/=", "authorization: bearer ***"),
        ("Basic dXNlcjpwYXNz end", "Basic *** end"),
        (f"token {JWT} end", "token *** end"),
        (f"Bearer {JWT}", "Bearer ***"),
        ("key sk-abcdefgh1234 end", "key *** end"),
        ("risk-free task-abcdefgh", "risk-free task-abcdefgh"),
        ("see https://cdn.example.com/a.png?Expires=1&Signature=abc now", "see https://cdn.example.com/a.png?*** now"),
        ('{"url":"https://h/a?Signature=abc"}', '{"url":"https://h/a?***"}'),
        ("https://h/a and http://i/b", "https://h/a and http://i/b"),
        ("https://user:pass@h/x", "https://***@h/x"),
        ("http://token@h/x?y=z", "http://***@h/x?***"),
        ("proxy http://user:p%40ss@proxy:3128", "proxy http://***@proxy:3128"),
        (f"got {PICTURE} back", "got *** back"),
        ("A" * 199, "A" * 199),
        ("A" * 200, "***"),
        ("data:image/png;base64,QUJD end", "data:*** end"),
        ("a\nb\r\nc\td\x00e\x7ff\x1b[31mg", "a b c d e f [31mg"),
        ("a\u2028b\u2029c", "a b c"),
        (" \n padded \n ", "padded"),
    ],
)
def test_redacted(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("HTTPS://cdn.example.com/a.png?Signature=s3cr3t", id="scheme in capitals"),
        pytest.param("https://user:p@s3cr3t@host/x", id="@ in a password"),
        pytest.param("user:s3cr3t@gw.example", id="no scheme"),
        pytest.param("data:image/png;charset=utf-8;base64,s3cr3t", id="data URI with a parameter"),
        pytest.param("DATA:image/png;base64,s3cr3t", id="data URI in capitals"),
    ],
)
def test_other_forms_of_secrets(text):
    assert "s3cr3t" not in redact(text)


def test_base64_in_lines():
    lines = base64.encodebytes(bytes(range(256)) * 2).decode()

    assert lines[:40] not in redact(f"image={lines}")


@pytest.mark.parametrize(("length", "shown"), [(500, 500), (501, 500), (100_000, 500)])
def test_long_text_is_cut(length, shown):
    text = redact(("word " * (length // 5 + 1))[: length - 1] + "w")

    assert len(text) == shown
    assert text.endswith("…") is (length > 500)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=700))
def test_redacted_text_is_one_short_line_and_stays_as_it_is(text):
    once = redact(text)

    assert len(once) <= 500
    assert not any(ord(sign) < 32 or sign in "\x7f\u2028\u2029" for sign in once)
    assert redact(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "Max retries exceeded with url: /out.png?pkey=hunter2&sig=hunter3&auth_key=hunter4",
        'access_token=hunter2 refresh_token: hunter3 client_secret="hunter4"',
        '{"AccessKeyId":"hunter2"}',
        "x_api_key=hunter2",
        "https:\\/\\/h\\/p?sig=hunter2",
    ],
)
def test_secrets_as_libraries_print_them(text):
    assert "hunter" not in redact(text)
