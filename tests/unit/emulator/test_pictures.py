from __future__ import annotations

import io
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import data

from airflow_kling.emulator.pictures import (
    PAPER,
    before_after,
    encode_png,
    expand,
    expanded_size,
    sample_picture,
    to_rgb,
)

ENGINES = ["patchmatch", "reflect"]
SIDES = (0, 0, 0.3, 0.3)


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return Image.fromarray(data.coffee())


@pytest.fixture(scope="module")
def chelsea() -> Image.Image:
    return Image.fromarray(data.chelsea())


@pytest.fixture(scope="module")
def small(coffee: Image.Image) -> Image.Image:
    """Detailed, and small enough to be expanded without scaling."""
    return coffee.crop((0, 100, 150, 250))


@pytest.fixture
def without_patchmatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(np.int16)


def inner(picture: Image.Image, original: Image.Image, ratios: tuple[float, ...]) -> np.ndarray:
    _, _, x, y = expanded_size(*original.size, *ratios)
    return pixels(picture)[y : y + original.height, x : x + original.width]


def row_steps(picture: np.ndarray) -> np.ndarray:
    """Mean difference of each row to the next one."""
    return np.abs(np.diff(picture, axis=0)).mean(axis=(1, 2))


def broad_step(picture: np.ndarray, row: int) -> float:
    """Mean difference between what lies above and below a row, where that is wider than a few pixels."""
    above, below = picture[row - 8 : row].mean(axis=0), picture[row : row + 8].mean(axis=0)
    blocks = (above - below)[: len(above) // 16 * 16].reshape(-1, 16, 3).mean(axis=1)
    return float(np.abs(blocks).mean())


# --- sizes and offsets ---


@pytest.mark.parametrize(
    ("size", "ratios", "expected"),
    [
        ((20, 10), (0, 0, 0, 0), (20, 10, 0, 0)),
        ((20, 10), (0.1, 0, 0, 0), (20, 11, 0, 1)),
        ((20, 10), (0, 0, 0.1, 0), (22, 10, 2, 0)),
        ((960, 1200), (0, 0, 0.61, 0.61), (2132, 1200, 586, 0)),
        ((300, 400), (0.5, 0.25, 0.1, 0.2), (390, 700, 30, 200)),
        ((100, 100), (0, 0, 2.0, 0), (300, 100, 200, 0)),
        # 0.145 * 100 is 14.499999999999998 in binary, 0.285 * 100 is 28.499999999999996.
        ((100, 100), (0.145, 0, 0.285, 0), (129, 115, 29, 15)),
        # Not to even: an added half pixel is always a whole one.
        ((10, 10), (0.25, 0.35, 0, 0), (10, 17, 0, 3)),
        ((300, 300), (0.001, 0, 0, 0.002), (301, 300, 0, 0)),
    ],
)
def test_expanded_size(size, ratios, expected):
    assert expanded_size(*size, *ratios) == expected


@pytest.mark.parametrize("side", range(4))
def test_negative_ratio_is_refused(side):
    ratios = [0.0] * 4
    ratios[side] = -0.1
    with pytest.raises(ValueError, match=r"-0\.1"):
        expanded_size(100, 100, *ratios)


# --- the promise: exact size, original untouched ---


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("size", "ratios"),
    [
        ((200, 300), (0.1, 0.2, 0.3, 0.15)),
        ((200, 150), (0, 0, 0, 2.0)),
        ((500, 400), (2.0, 0, 0, 0)),
        # The longest picture that the API takes.
        ((750, 300), (0.2, 0.2, 0, 0)),
        # One or two pixels, of which nothing is left once the picture is scaled down.
        ((1600, 1200), (0.001, 0, 0.001, 0.001)),
        ((301, 299), (0.003, 0.004, 0.003, 0.004)),
        # Nothing that the API would take: but a test's picture may well be tiny.
        ((30, 20), (0.5, 0.5, 0.5, 0.5)),
        ((1, 1), (1, 1, 1, 1)),
    ],
)
def test_size_is_exact_and_original_untouched(coffee, engine, size, ratios):
    original = coffee.resize(size)
    expanded = expand(original, *ratios, engine=engine)
    width, height, _, _ = expanded_size(*size, *ratios)
    assert expanded.mode == "RGB"
    assert expanded.size == (width, height)
    assert np.array_equal(inner(expanded, original, ratios), pixels(original))


def test_nothing_to_expand_gives_an_equal_copy(small):
    expanded = expand(small, 0, 0, 0, 0)
    assert expanded is not small
    assert np.array_equal(pixels(expanded), pixels(small))


def test_argument_is_left_alone(small):
    before = small.tobytes()
    expand(small, *SIDES, engine="reflect").putpixel((45, 0), (1, 2, 3))
    assert small.tobytes() == before


# --- seeds ---


@pytest.mark.parametrize("engine", ENGINES)
def test_seed_decides_the_new_canvas(small, engine):
    first, again, other = (pixels(expand(small, *SIDES, seed=seed, engine=engine)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    new = np.concatenate([first[:, :45], first[:, -45:]]), np.concatenate([other[:, :45], other[:, -45:]])
    assert np.abs(new[0] - new[1]).mean() > 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [-1, 2**40])
def test_any_integer_is_a_seed(small, engine, seed):
    assert expand(small, 0.05, 0, 0, 0, seed=seed, engine=engine).height == 158


def test_seed_holds_while_others_expand(small):
    # PyPatchMatch has one seed for the whole process.
    seeds = [1, 2, 3]
    alone = [expand(small, 0, 0, 0.3, 0, seed=seed).tobytes() for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        together = list(pool.map(lambda seed: expand(small, 0, 0, 0.3, 0, seed=seed).tobytes(), seeds))
    assert together == alone


# --- how it looks ---


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("photograph", ["coffee", "chelsea"])
@pytest.mark.parametrize("turns", range(4), ids=["up", "right", "down", "left"])
def test_border_is_no_seam(request, engine, photograph, turns):
    original = request.getfixturevalue(photograph).resize((240, 160))
    ratios = tuple(0.2 if side == turns else 0 for side in (0, 2, 3, 1))  # up, down, left, right
    expanded = pixels(expand(original, *ratios, engine=engine))
    added = 32 if turns in (0, 2) else 48
    turned = np.rot90(expanded, turns)
    steps = row_steps(turned)
    inside = steps[added : added + 40].mean()
    assert steps[added - 1] < 1.3 * inside
    # Nor may the new canvas as a whole be brighter or darker beside the border, which is what an eye sees first.
    assert broad_step(turned, added) < 1.5 * broad_step(turned, added + 20) + 4


@pytest.mark.parametrize("turns", [1, 3], ids=["right", "left"])
def test_no_step_hides_beside_the_border(chelsea, turns):
    # Beside these borders there is nothing as bright to copy: PyPatchMatch leaves a step two or three pixels away.
    ratios = (0, 0, 0.2 * (turns == 3), 0.2 * (turns == 1))
    steps = row_steps(np.rot90(pixels(expand(chelsea, *ratios, engine="patchmatch")), turns))
    assert steps[78:90].max() < 1.7 * steps[90:130].mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_sharpness_does_not_end_at_the_border(coffee, engine):
    # Large enough for new canvas to be scaled up: what is scaled up is blurred.
    original = coffee.resize((1800, 1200), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).integers(-30, 31, (1200, 1800, 1))
    original = Image.fromarray(np.clip(pixels(original) + grain, 0, 255).astype(np.uint8))
    steps = row_steps(pixels(expand(original, 0.3, 0, 0, 0, engine=engine)))
    assert steps[354:360].mean() > 0.6 * steps[360:400].mean()


def test_new_canvas_is_as_detailed_as_the_picture(coffee):
    # Twice as large as what is synthesised in each direction: without its detail put back it would be blurred.
    original = coffee.resize((900, 600), Image.Resampling.LANCZOS)
    expanded = pixels(expand(original, 0, 0, 0, 0.5, engine="patchmatch"))
    assert row_steps(expanded[:, 940:]).mean() > 0.6 * row_steps(expanded[:, 760:900]).mean()


def test_subject_is_not_cloned():
    # A red disc on grass: whatever is new must be grass.
    grass = np.asarray(Image.fromarray(data.grass()).convert("RGB").crop((0, 0, 300, 300)))
    rows, columns = np.mgrid[:300, :300]
    disc = np.hypot(rows - 150, columns - 150) < 120
    original = Image.fromarray(np.where(disc[..., None], np.array([220, 20, 20], np.uint8), grass))
    expanded = pixels(expand(original, 0, 0, 0.4, 0.4, engine="patchmatch"))
    new = np.concatenate([expanded[:, :120], expanded[:, -120:]], axis=1)
    assert ((new[..., 0] - new[..., 1]) > 60).mean() < 0.002


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("size", "ratios"),
    [
        # PyPatchMatch leaves black holes where the band that it may copy from is too shallow for its coarsest levels.
        ((300, 750), (0, 0, 0, 2.0)),
        ((1250, 500), (0.36, 0.36, 0.36, 0.36)),
        # Too thin for any patch.
        ((4000, 60), (0.1, 0.1, 0.1, 0.1)),
    ],
)
def test_plain_picture_stays_plain(engine, size, ratios):
    plain = (90, 120, 130)
    expanded = pixels(expand(Image.new("RGB", size, plain), *ratios, engine=engine))
    assert np.abs(expanded - plain).max() <= 1


@pytest.mark.parametrize("ratios", [(0, 2.0, 0, 0), (0.2, 0.2, 0.2, 0.2)])
def test_frame_is_continued_not_what_it_frames(coffee, ratios):
    # The frame is all that may be copied, and too thin for PyPatchMatch's coarsest levels.
    framed = Image.new("RGB", (400, 300), "white")
    framed.paste(coffee.resize((380, 280)), (10, 10))
    expanded = pixels(expand(framed, *ratios, engine="patchmatch"))
    _, _, x, y = expanded_size(400, 300, *ratios)
    expanded[y : y + 300, x : x + 400] = 255
    assert expanded.mean() > 245


def test_darkness_stays_dark_and_light_stays_light():
    # Where it finds too few patches PyPatchMatch darkens: in a picture that is black itself, too, that must be told.
    rows, columns = np.mgrid[:240, :300]
    ramp = np.where((columns // 30 + rows // 30) % 2, 0, 60 + columns // 2)[..., None].repeat(3, axis=2)
    original = Image.fromarray(ramp.astype(np.uint8))
    expanded = pixels(expand(original, 0.2, 0.2, 0.2, 0.2, engine="patchmatch"))
    assert 0.35 < (expanded < 10).mean() < 0.65


# --- engines ---


def test_expanding_is_quiet(small, capfd):
    expand(small, *SIDES, engine="patchmatch")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("without_patchmatch")
def test_auto_reflects_without_patchmatch(small, caplog):
    with caplog.at_level(logging.INFO):
        expanded = expand(small, *SIDES, seed=5)
    assert expanded.tobytes() == expand(small, *SIDES, seed=5, engine="reflect").tobytes()
    # It is an optional dependency: to lack it is nothing to warn of, once per picture.
    assert not caplog.records


@pytest.mark.usefixtures("without_patchmatch")
def test_patchmatch_asked_for_but_missing_raises(small):
    with pytest.raises(ImportError):
        expand(small, *SIDES, engine="patchmatch")


def test_auto_reflects_when_patchmatch_fails(small, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("the patchmatch native library is not available")

    monkeypatch.setattr("patchmatch.inpaint_regularity", fail)
    expanded = expand(small, *SIDES, seed=5)
    assert expanded.tobytes() == expand(small, *SIDES, seed=5, engine="reflect").tobytes()
    assert "native library is not available" in caplog.text
    with pytest.raises(RuntimeError):
        expand(small, *SIDES, engine="patchmatch")


def test_what_patchmatch_leaves_black_is_reflected(small, monkeypatch):
    def leave(canvas, hole, *args, **kwargs):
        return np.where(hole[..., None], 0, canvas).astype(np.uint8)

    monkeypatch.setattr("patchmatch.inpaint_regularity", leave)
    monkeypatch.setattr("patchmatch.inpaint", leave)
    expanded = pixels(expand(small, *SIDES, engine="patchmatch"))
    assert np.concatenate([expanded[:, :45], expanded[:, -45:]]).max(axis=2).min() > 20


def test_auto_takes_patchmatch(small):
    assert expand(small, *SIDES).tobytes() == expand(small, *SIDES, engine="patchmatch").tobytes()


# --- modes ---


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "HSV", "LA", "RGBA", "RGBa", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(small, mode):
    # Pillow converts to 16 bits only from 8-bit grey.
    source = small.convert("L").convert(mode) if mode == "I;16" else small.convert(mode)
    expanded = expand(source, 0.1, 0, 0, 0.1, engine="reflect")
    assert (expanded.mode, expanded.size) == ("RGB", (165, 165))
    assert np.array_equal(inner(expanded, small, (0.1, 0, 0, 0.1)), pixels(to_rgb(source)))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGBA", "HSV"])
def test_colours_survive_the_conversion(small, mode):
    assert np.abs(pixels(to_rgb(small.convert(mode))) - pixels(small)).mean() < 4


def test_transparency_goes_onto_white():
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 128))
    rgb = to_rgb(clear)
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert rgb.getpixel((1, 0)) == pytest.approx((227, 127, 127), abs=1)


def test_transparent_palette_colour_goes_onto_white():
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.info["transparency"] = 0
    assert [to_rgb(picture).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_are_scaled_not_clipped(mode):
    # As Pillow hands out a 16-bit PNG: today in I;16, formerly in I.
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16 if mode == "I;16" else np.int32)
    picture = Image.fromarray(values)
    assert picture.mode == mode
    assert [to_rgb(picture).getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_eight_bits_in_a_wide_mode_are_not_scaled():
    picture = Image.fromarray(np.array([[0, 100, 255]], dtype=np.int32))
    assert [to_rgb(picture).getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


# --- the sample picture ---


def test_sample_picture_is_always_the_same():
    first, again = sample_picture(), sample_picture()
    assert (first.mode, first.size) == ("RGB", (960, 1200))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("size", [(100, 100), (1600, 300), (301, 753)])
def test_sample_picture_of_another_size(size):
    picture = sample_picture(*size)
    assert picture.size == size
    assert pixels(picture).std() > 30


# --- before and after ---


def shown(sheet: Image.Image, picture: Image.Image, size: tuple[int, int], corner: tuple[int, int]) -> bool:
    """Tell whether a sheet shows a picture in that size at that corner, but for a thin line at its border."""
    part = pixels(sheet.crop((*corner, corner[0] + size[0], corner[1] + size[1])))[4:-4, 4:-4]
    wanted = pixels(picture.resize(size, Image.Resampling.LANCZOS))[4:-4, 4:-4]
    return bool(np.abs(part - wanted).mean() < 1)


def test_comparison_shows_both_pictures_at_their_true_size(coffee):
    after = expand(coffee, 0, 0.1, 0.2, 0.2, engine="reflect")
    sheet = before_after(coffee, after, (120, 0, *coffee.size))
    margin = (sheet.width - coffee.width - after.width) // 3
    assert sheet.width == coffee.width + after.width + 3 * margin
    assert shown(sheet, coffee, coffee.size, (margin, margin + 20))
    # The old border is drawn into the new picture: its inside shows the original.
    assert shown(sheet, coffee, coffee.size, (2 * margin + coffee.width + 120, margin))


def test_comparison_is_scaled_down_to_its_limit(coffee):
    before = coffee.resize((2400, 1600))
    after = expand(before, 0.36, 0.36, 0.36, 0.36, engine="reflect")
    sheet = before_after(before, after, (864, 576, *before.size), max_side=1200)
    assert 1190 <= max(sheet.size) <= 1200


def test_cropped_and_shrunk_picture_keeps_its_scale_and_its_margin(coffee):
    # Half the resolution came back, and a crop took 20 of its pixels off each side.
    after = coffee.resize((300, 200)).crop((20, 0, 280, 200))
    sheet = before_after(coffee, after, (-20, 0, 300, 200))
    margin = (sheet.width - 300 - 260) // 3
    assert shown(sheet, coffee, (300, 200), (margin, margin))
    assert shown(sheet, after, (260, 200), (2 * margin + 300, margin))
    assert (pixels(sheet)[:, margin + 300 : 2 * margin + 300] == PAPER).all()


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_old_border_shows_on_any_ground(paper):
    before, after = (Image.new("RGB", size, (paper,) * 3) for size in ((400, 300), (560, 300)))
    sheet = pixels(before_after(before, after, (80, 0, *before.size)))
    margin = (sheet.shape[1] - 960) // 3
    old_border = sheet[margin + 20 : margin + 280, 2 * margin + 400 + 80]
    assert old_border.max() > paper + 100 or old_border.min() < paper - 100
    assert np.abs(old_border - paper).max() > 100


def test_captions_are_written_below_the_pictures(coffee):
    sheet = pixels(before_after(coffee, coffee, (0, 0, *coffee.size)))
    margin = (sheet.shape[1] - 2 * coffee.width) // 3
    written = (sheet[margin + coffee.height :] < 100).any(axis=(0, 2))
    assert written[margin : margin + coffee.width].any()
    assert written[-margin - coffee.width : -margin].any()


# --- PNG ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_png_is_lossless(small, mode):
    picture = small.convert(mode)
    with Image.open(io.BytesIO(encode_png(picture))) as decoded:
        assert (decoded.format, decoded.mode, decoded.size) == ("PNG", mode, picture.size)
        assert decoded.tobytes() == picture.tobytes()
