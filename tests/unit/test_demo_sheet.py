"""The demo's contact sheet: self-contained, escaped, and true to where the old picture lies."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from airflow_kling.demo.sheet import NOTHING_PAID, contact_sheet

EVIL = "<script>alert(1)</script> & \"quotes\" 'too'"
BORDERED = ("border", "before")
URLS = ("src", "href", "poster", "srcset", "action", "data")


class Page(HTMLParser):
    """The elements of a page, and the text outside of style and script."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self._inside = [], "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside not in ("style", "script"):
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def make(tmp_path):
    def sheet(*, clip="clip.mp4", before="photo.jpg", border=(60, 0, 80, 100), **texts):
        paths = tmp_path / before, tmp_path / "new picture#1.png"
        Image.new("RGB", (80, 100), "red").save(paths[0])
        Image.new("RGB", (200, 100), "blue").save(paths[1])
        rows = [(texts.get("label", "Units"), texts.get("text", "8"))]
        film = tmp_path / clip if clip else None
        return contact_sheet(texts.get("title", "A title"), *paths, film, rows, rows, border=border)

    return sheet


@pytest.mark.parametrize("where", ["title", "label", "text"])
def test_what_others_wrote_is_escaped(make, where):
    page = Page(make(**{where: EVIL}))
    assert EVIL in page.text
    assert len(page.all("script")) == 1


def test_files_are_named_relatively_and_nothing_else_is_asked_for(make):
    html = make(before="a:b\" onerror='x'.jpg")
    page = Page(html)
    links = {attrs[name] for _, attrs in page.elements for name in URLS if name in attrs}
    assert links == {"./a%3Ab%22%20onerror%3D%27x%27.jpg", "./new%20picture%231.png", "./clip.mp4"}
    assert not any("onerror" in attrs for attrs in page.all("img"))
    assert re.findall(r"https?:|//[a-z]|url\(|@import|fetch\(", html) == []


def test_clip_plays_muted_with_controls_and_a_poster(make):
    (video,) = Page(make()).all("video")
    assert {"muted", "loop", "controls", "playsinline"} <= set(video)
    assert (video["src"], video["poster"]) == ("./clip.mp4", "./new%20picture%231.png")


def test_without_a_clip_the_rest_remains(make):
    page = Page(make(clip=None))
    assert page.all("video") == []
    assert len(page.all("img")) == 4
    assert "clip" not in page.text.lower()
    assert NOTHING_PAID in page.text


@pytest.mark.parametrize(
    ("border", "style"),
    [
        ((60, 0, 80, 100), "left: 30.0000%; top: 0.0000%; width: 40.0000%; height: 100.0000%"),
        # A crop took something off the old picture's top.
        ((60.5, -10, 80, 110), "left: 30.2500%; top: -10.0000%; width: 40.0000%; height: 110.0000%"),
    ],
)
def test_old_border_is_marked_where_it_lies(make, border, style):
    styles = [attrs["style"] for attrs in Page(make(border=border)).all("div") if attrs.get("class") in BORDERED]
    assert styles == [style, style]


def test_pictures_and_slider_say_what_they_are(make):
    page = Page(make())
    assert [attrs["alt"] for attrs in page.all("img")] == ["The picture before", "The expanded picture", "", ""]
    (slider,) = page.all("input")
    assert (slider["type"], bool(slider["aria-label"])) == ("range", True)
    assert [(attrs["width"], attrs["height"]) for attrs in page.all("img")][:2] == [("80", "100"), ("200", "100")]
    assert page.all("html") == [{"lang": "en"}]


def test_a_photo_on_its_side_counts_as_it_is_shown(make, tmp_path):
    make()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (100, 80), "red").save(tmp_path / "turned.jpg", exif=turned)
    html = contact_sheet("t", tmp_path / "turned.jpg", tmp_path / "turned.jpg", None, [], [], border=(0, 0, 80, 100))
    assert {(attrs["width"], attrs["height"]) for attrs in Page(html).all("img")} == {("80", "100")}
