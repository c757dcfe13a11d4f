"""Every picture becomes what is wanted within Kling's limits, with the fewest passes, and the subject kept."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest
from airflow_kling.emulator.pictures import expand
from airflow_kling.media.reframe import ANCHORS, FITS, MAX_PASSES, SIDES, Box, Target, border_of_ratios, plan

LONGEST = Fraction(5, 2)
STEP = Fraction(1, 10_000)
STANDARD = ["16:9", "9:16", "1:1", "4:5", "3:4", "4:3", "2:3", "21:9", "2.39", "1:2.5", "2.5"]
IMAGE = "https://example.com/picture.jpg"

lengths = st.one_of(st.integers(300, 12_000), st.integers(300, 700))
sizes = st.tuples(lengths, lengths).filter(lambda size: in_shape(*size))
shares = st.floats(0, 1).map(lambda share: round(share, 6))
anchors = st.one_of(st.sampled_from(sorted(ANCHORS)), st.tuples(shares, shares))
aspects = st.one_of(
    st.sampled_from(STANDARD),
    st.builds(Fraction, st.integers(1, 3000), st.integers(1, 3000)).filter(lambda aspect: in_shape(aspect, 1)),
)
wishes = st.one_of(
    st.fixed_dictionaries({"aspect_ratio": aspects, "anchor": anchors}),
    st.fixed_dictionaries({"size": st.tuples(lengths, lengths), "anchor": anchors}),
    st.fixed_dictionaries({"pixels": st.tuples(*[st.integers(0, 4000)] * 4)}),
    st.fixed_dictionaries({"ratios": st.tuples(*[st.floats(0, 3).map(lambda ratio: round(ratio, 5))] * 4)}),
)
options = st.fixed_dictionaries(
    {"fit": st.sampled_from(FITS), "for_video": st.booleans(), "max_crop": st.sampled_from([0, 0.06, 0.4])}
)
many = settings(deadline=None, max_examples=400)


def in_shape(width, height):
    return max(width, height) <= LONGEST * min(width, height)


def is_input(width, height):
    return min(width, height) >= 300 and in_shape(width, height)


def exact(each):
    return [Fraction(str(ratio)) for ratio in each.ratios.values()]


def fraction(aspect):
    width, _, height = str(aspect).replace("/", ":").partition(":")
    return Fraction(width) / Fraction(height or 1)


def planned(picture, **wish):
    """Return the plan, and leave the example out where it is refused."""
    try:
        return plan(*picture, **wish)
    except InputFault:
        assume(False)


def wanted_aspect(size, wish):
    """The aspect of what is wanted, told anew from the wish."""
    if "aspect_ratio" in wish:
        return fraction(wish["aspect_ratio"])
    if "size" in wish:
        return Fraction(*wish["size"])
    up, down, left, right = (Fraction(str(side)) for side in (wish.get("pixels") or wish["ratios"]))
    scale = (1, 1) if "pixels" in wish else size
    return (size[0] + (left + right) * scale[0]) / (size[1] + (up + down) * scale[1])


def check_passes(todo):
    """Every pass is one that Kling takes; all its rules, told anew."""
    for each in todo.passes:
        up, down, left, right = exact(each)
        assert all(0 <= ratio <= 2 and ratio % STEP == 0 for ratio in (up, down, left, right))
        assert 0 < (1 + up + down) * (1 + left + right) - 1 <= 2
        assert is_input(*each.input)
        ExpandRequest(image=IMAGE, **each.ratios)


def within_one_pixel(size, aspect):
    width, height = size
    off = abs(width - height * aspect), abs(height - width / aspect)
    return max(off) <= 1 or (min(off) <= 1 and min(size) == 300)


# --- all sizes, all targets -------------------------------------------------------------------------------------------


@many
@given(st.tuples(lengths, lengths), wishes, options)
def test_every_plan_keeps_every_rule(size, wish, option):
    todo = planned(size, **wish, **option)
    check_passes(todo)
    assert len(todo.passes) <= MAX_PASSES
    assert todo.passes == () or size == todo.present
    if todo.resize:
        assert todo.resize == todo.final_size == wish["size"]
    else:
        assert within_one_pixel(todo.final_size, wanted_aspect(size, wish))
    if option["for_video"]:
        assert is_input(*todo.final_size)
    if option["fit"] == "fail":
        assert len(todo.passes) <= 1
    if option["fit"] == "crop":
        assert len(todo.passes) <= 1
    if option["fit"] in ("passes", "fail") and todo.passes:
        assert todo.crop is None


@many
@given(sizes, aspects, anchors)
def test_an_aspect_takes_the_fewest_passes_and_keeps_the_picture(size, aspect, anchor):
    """Without a crop one axis grows; n passes reach a factor of 3 ** n, and the source stays whole but for a pixel."""
    todo = plan(*size, aspect_ratio=aspect, anchor=anchor, fit="passes")
    factor = fraction(aspect) * size[1] / size[0]
    factor = max(factor, 1 / factor)
    fewest = next(passes for passes in itertools.count() if 3**passes >= factor)
    assert len(todo.passes) <= fewest
    if len(todo.passes) < fewest:  # only where a cut of a pixel or so does as well
        assert not todo.passes
        assert (1 - 1 / factor) * min(size) <= 1 + Fraction(max(size), 10_000)
    assert todo.units == 8 * len(todo.passes)
    rounding = 4 * LONGEST + 3 * LONGEST * max(size) / 10_000
    assert todo.lost <= rounding / min(size)


@many
@given(sizes, aspects, anchors, st.sampled_from(["auto", "passes", "crop"]))
def test_the_subject_is_kept_and_as_near_the_middle_as_it_can_be(size, aspect, anchor, fit):
    todo = plan(*size, aspect_ratio=aspect, anchor=anchor, fit=fit)
    frame = todo.frame
    axes = ((size[0], frame.left, frame.right), (size[1], frame.top, frame.bottom))
    # A step of rounding per side and pass, and the pixel of the last cut.
    tolerance = 3 + max(float(frame.width), float(frame.height)) * len(todo.passes) / 5000
    for axis, (length, start, end) in enumerate(axes):
        free = (end - start) - length
        if isinstance(anchor, tuple):
            subject = Fraction(str(anchor[axis])) * length
            assert start - tolerance <= subject <= end + tolerance
            before = min(max((end - start) / 2 - subject, min(free, 0)), max(free, 0))
        else:
            before = free * Fraction(ANCHORS[anchor][axis], 2)
        assert abs(float(-start - before)) <= tolerance


@many
@given(sizes, aspects)
def test_auto_crops_little_or_not_at_all(size, aspect):
    todo = plan(*size, aspect_ratio=aspect, max_crop=0.06)
    without = plan(*size, aspect_ratio=aspect, fit="passes")
    if todo.crop and todo.passes:
        assert len(without.passes) == 2
        assert len(todo.passes) == 1
        kept = todo.crop.size
        assert (kept[0] == size[0]) != (kept[1] == size[1])
        assert Fraction(kept[0], size[0]) * Fraction(kept[1], size[1]) >= Fraction("0.94")
    else:
        assert todo.passes == without.passes


@many
@given(sizes, wishes, st.booleans(), st.data())
def test_planning_again_converges_at_any_resolution(size, wish, for_video, data):
    """What comes back is scaled, and off by some pixels: no pass more is ever bought, and the aspect is right."""
    todo = first = planned(size, **wish, for_video=for_video)
    while todo.passes:
        expected = todo.passes[0].output
        scale = data.draw(st.floats(max(0.2, 310 / min(expected)), 2))
        came = tuple(max(300, round(length * scale) + data.draw(st.integers(-2, 2))) for length in expected)
        assume(in_shape(*came) or len(todo.passes) == 1)
        rest = todo.after(*came)
        assert rest.present == came
        assert len(rest.passes) < len(todo.passes)
        check_passes(rest)
        todo = rest
    assert todo.trim is None
    cut = todo.crop.size if todo.crop else todo.present
    assert within_one_pixel(cut, wanted_aspect(size, wish))
    assert todo.source == size
    # Some pixels of each picture, also of the smallest that came.
    assert todo.lost - first.lost < 0.05
    if max(first.final_size) > 100:
        drift = max(abs(float(a - b)) for a, b in zip(todo.frame, first.frame, strict=True))
        assert drift <= 0.05 * max(float(first.frame.width), float(first.frame.height)) + 3


@pytest.mark.parametrize("off", [-2, 0, 2, 60], ids=str)
def test_a_paid_picture_a_little_too_long_for_the_next_pass_is_cut(off):
    todo = plan(463, 465, pixels=(503, 1891, 0, 259), for_video=False)
    while todo.passes:
        width, height = todo.passes[0].output
        came = (round(0.75 * width) + 2, round(0.75 * height) + off)
        lost, todo = todo.lost, todo.after(*came)
        check_passes(todo)
        assert todo.lost - lost < 0.08
    assert not in_shape(*todo.final_size)


@many
@given(sizes, st.sampled_from(STANDARD), st.sampled_from([8, 16, 32, 64]))
def test_pictures_of_one_megapixel_in_blocks_cost_little_of_the_source(size, aspect, block):
    todo = first = plan(*size, aspect_ratio=aspect)
    while todo.passes:
        expected = todo.passes[0].output
        scale = 1024 / math.sqrt(expected[0] * expected[1])
        todo = todo.after(*(round(length * scale / block) * block for length in expected))
    assert within_one_pixel(todo.final_size, wanted_aspect(size, {"aspect_ratio": aspect}))
    assert todo.lost - first.lost <= 0.04


@many
@given(sizes, aspects, anchors)
def test_the_same_picture_back_means_the_same_plan(size, aspect, anchor):
    todo = plan(*size, aspect_ratio=aspect, anchor=anchor, fit="passes")
    while todo.passes:
        rest = todo.after(*todo.passes[0].output)
        assert rest.passes == todo.passes[1:]
        assert rest.frame == todo.frame
        assert rest.original == todo.original
        todo = rest


@many
@given(sizes, wishes)
def test_where_the_original_lies_is_known(size, wish):
    todo = planned(size, **wish, for_video=False)
    box, kept = todo.original, todo.kept
    assert 0 <= box.left < box.right <= todo.final_size[0]
    assert 0 <= box.top < box.bottom <= todo.final_size[1]
    assert 0 <= kept.left < kept.right <= size[0]
    assert 0 <= kept.top < kept.bottom <= size[1]
    if not todo.resize:
        # At the input's resolution a pixel of the original stays a pixel; rounding takes some off along the way.
        allowed = 2 * (len(todo.passes) + 1) + max(size) * len(todo.passes) / 5000
        assert abs(box.size[0] - kept.size[0]) <= allowed
        assert abs(box.size[1] - kept.size[1]) <= allowed


@pytest.mark.parametrize(
    "wish",
    [
        {"aspect_ratio": "16:9"},
        {"aspect_ratio": "16:9", "fit": "passes", "anchor": (0.2, 0.3)},
        {"size": (800, 820), "anchor": "top-right"},
        {"pixels": (30, 0, 10, 200)},
    ],
    ids=str,
)
def test_the_original_lies_there_in_a_picture_that_was_really_expanded(wish):
    picture = Image.effect_noise((360, 640), 90).convert("RGB")
    todo, done = plan(*picture.size, **wish), picture
    while True:
        done = done.crop(todo.crop) if todo.crop else done
        if not todo.passes:
            break
        done = expand(done, **todo.passes[0].ratios, engine="reflect")
        todo = todo.after(*done.size)
    assert done.size == todo.final_size
    assert done.crop(todo.original).tobytes() == picture.crop(todo.kept).tobytes()


# --- the table of the documents ---------------------------------------------------------------------------------------


AREAS = {
    ("9:16", "1:1"): 1.78,
    ("9:16", "4:5"): 1.42,
    ("9:16", "16:9"): 3.16,
    ("9:16", "21:9"): 4.15,
    ("2:3", "16:9"): 2.67,
    ("2:3", "21:9"): 3.50,
    ("3:4", "16:9"): 2.37,
    ("3:4", "21:9"): 3.11,
    ("1:1", "21:9"): 2.33,
    ("4:3", "9:16"): 2.37,
    ("16:9", "9:16"): 3.16,
    ("16:9", "4:5"): 2.22,
    ("16:9", "21:9"): 1.31,
}
#: What auto does where one pass is not enough: a crop of so much, or two passes.
BEYOND = {("9:16", "16:9"): 0.051, ("16:9", "9:16"): 0.051, ("3:4", "21:9"): 0.036}


@pytest.mark.parametrize(("pair", "area"), AREAS.items(), ids=str)
def test_known_areas(pair, area):
    start = fraction(pair[0])
    width, height = 500 * start.numerator, 500 * start.denominator
    passes = plan(width, height, aspect_ratio=pair[1], fit="passes").passes
    assert len(passes) == (1 if area <= 3 else 2)
    assert math.prod(each.area for each in passes) == pytest.approx(area, abs=0.006)
    auto = plan(width, height, aspect_ratio=pair[1])
    assert len(auto.passes) == (1 if area <= 3 or pair in BEYOND else 2)
    assert auto.lost == pytest.approx(BEYOND.get(pair, 0), abs=0.003)


def test_portrait_to_landscape():
    auto = plan(1080, 1920, aspect_ratio="16:9")
    assert auto.crop == Box(0, 49, 1080, 1871)
    assert auto.passes[0].ratios == {"up": 0, "down": 0, "left": 0.9995, "right": 0.9996}
    assert (auto.final_size, auto.units, auto.usd) == ((3239, 1822), 8, 0.028)
    assert auto.original == Box(1079, 0, 2159, 1822)
    twice = plan(1080, 1920, aspect_ratio="16:9", fit="passes")
    assert [round(each.area, 2) for each in twice.passes] == [1.78, 1.78]
    assert (twice.crop, twice.units, twice.usd) == (None, 16, 0.056)
    with pytest.raises(InputFault, match=r"at most 3 times .* this is 3\.16 times; say fit="):
        plan(1080, 1920, aspect_ratio="16:9", fit="fail")


def test_only_the_last_pass_orders_several_pictures():
    todo = plan(1080, 1920, aspect_ratio="16:9", fit="passes", n=4)
    assert [each.n for each in todo.passes] == [1, 4]
    assert (todo.units, todo.usd) == (40, 0.14)
    assert [each.n for each in todo.after(1024, 1024).passes] == [4]


def test_a_crop_can_do_without_any_pass():
    todo = plan(1000, 310, aspect_ratio="1:1", fit="crop", anchor="left")
    assert todo.crop == Box(0, 0, 775, 310)  # at first it is cut to what Kling takes
    todo = plan(4000, 600, aspect_ratio="5:1", fit="crop", anchor="right", for_video=False)
    assert (todo.passes, todo.crop, todo.trim) == ((), Box(1000, 0, 4000, 600), None)
    assert (todo.units, todo.final_size, todo.lost) == (0, (3000, 600), 0.25)


@pytest.mark.parametrize(("size", "aspect"), [((1920, 1080), "16:9"), ((1366, 768), "16:9"), ((300, 750), "1:2.5")])
def test_what_is_within_a_pixel_costs_nothing(size, aspect):
    todo = plan(*size, aspect_ratio=aspect)
    assert (todo.passes, todo.crop, todo.final_size, todo.units) == ((), None, size, 0)


def test_a_pixel_is_cut_rather_than_bought():
    todo = plan(3000, 2001, aspect_ratio="3:2", fit="passes", anchor="top")
    assert (todo.passes, todo.crop, todo.final_size) == ((), Box(0, 0, 3000, 2000), (3000, 2000))


def test_the_least_picture_is_not_cut_below_the_least_size():
    todo = plan(326, 300, aspect_ratio=Fraction(289, 169))
    assert todo.passes[0].output == todo.final_size == (512, 300)  # 513.02 would be exact
    assert todo.after(512, 300).crop is None


def test_size_keeps_the_pictures_own_scale_or_shrinks_it():
    todo = plan(1000, 1000, size=(1500, 1250), anchor="bottom-left")
    assert todo.passes[0].ratios == {"up": 0.25, "down": 0, "left": 0, "right": 0.5}
    assert todo.resize == (1500, 1250)
    assert todo.original == Box(0, 250, 1000, 1250)
    smaller = plan(4000, 3000, size="1920x1080")
    assert smaller.passes[0].ratios == plan(4000, 3000, aspect_ratio="16:9").passes[0].ratios
    assert smaller.original == Box(240, 0, 1680, 1080)


def test_sides_are_given_as_they_are():
    assert plan(1000, 600, pixels=(0, 0, 100, 400)).passes[0].ratios == {"up": 0, "down": 0, "left": 0.1, "right": 0.4}
    assert plan(800, 800, ratios={"up": 0.25}).passes[0].ratios == {"up": 0.25, "down": 0, "left": 0, "right": 0}
    far = plan(400, 400, ratios=(0, 1, 2, 0), for_video=False)
    assert [each.ratios["right"] + each.ratios["up"] for each in far.passes] == [0, 0]
    assert far.original == Box(800, 0, 1200, 400)


def test_beyond_the_shape_that_kling_takes_a_pass_stops_short_of_it():
    todo = plan(1200, 600, aspect_ratio="7:1", for_video=False)
    assert len(todo.passes) == 2
    assert todo.passes[1].input == (1470, 600)


@pytest.mark.parametrize(
    "same", ["16:9", "16/9", " 16 : 9 ", Fraction(16, 9), "1.7777777777777777", 16 / 9, Decimal(16) / 9]
)
def test_ways_to_say_an_aspect(same):
    assert plan(1000, 1000, aspect_ratio=same).passes == plan(1000, 1000, aspect_ratio="16:9").passes


def test_ways_to_say_an_anchor():
    same = {plan(1000, 1000, aspect_ratio=2, anchor=anchor).passes for anchor in ("Top_Left", "left", (0, 0.2), "0,1")}
    assert len(same) == 2  # the subject at the left edge goes into the middle
    assert plan(1000, 1000, aspect_ratio=2, anchor=(0, 0.2)).passes[0].ratios["left"] == 1
    assert plan(1000, 1000, aspect_ratio=2, anchor=" center ").passes[0].ratios["left"] == 0.5


# --- what is refused --------------------------------------------------------------------------------------------------


WIDE = {"aspect_ratio": "16:9"}


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "aspect_ratio, size, pixels, ratios"),
        ({"aspect_ratio": "16:9", "size": (1920, 1080)}, "aspect_ratio, size, pixels, ratios"),
        *[({"aspect_ratio": bad}, "aspect_ratio") for bad in ("wide", "16:", "1:2:3", "0:1", 0, -1, "1e9", True, "")],
        *[({"aspect_ratio": bad}, "aspect_ratio") for bad in (math.nan, math.inf, [16, 9], "9" * 400, "16:9px")],
        *[({"size": bad}, "size") for bad in ("1920", "1920x", (1920,), (1920, 0), (640.5, 480), 1920, (200, 400))],
        *[
            ({"pixels": bad}, "pixels")
            for bad in ((0, 0, 0, 0), (1, 2, 3), {"bottom": 1}, (-1, 0, 0, 5), (0.5, 0, 0, 0))
        ],
        *[({"ratios": bad}, "ratios") for bad in ((0, 0, 0, 0), "1,1,1,1", (math.nan, 0, 0, 1), (9, 0, 9, 0))],
        *[({**WIDE, "anchor": bad}, "anchor") for bad in ((1.01, 0.5), (-0.1, 0), "nose", (0.5,), None, "0.5,2", 3)],
        ({"ratios": (0, 0, 1, 0), "anchor": "top"}, "anchor"),
        ({**WIDE, "fit": "maybe"}, "fit"),
        *[({**WIDE, "max_crop": bad}, "max_crop") for bad in (1, -0.1, "6%", None)],
        ({**WIDE, "n": 10}, "n"),
        ({"aspect_ratio": "3:1"}, "aspect_ratio"),
        ({"aspect_ratio": "1:2.51"}, "aspect_ratio"),
        ({"size": (1920, 700)}, "size"),
        ({"ratios": (0, 0, 0.9, 0.9)}, "ratios"),
        ({"aspect_ratio": "12:1", "for_video": False}, "aspect_ratio"),
        ({"size": (60_000, 60_000)}, "size"),
    ],
    ids=repr,
)
def test_bad_wish(wish, field):
    with pytest.raises(InputFault) as caught:
        plan(1000, 800, **wish)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1000, 370), (370, 1000), (299, 400), (0, 0)])
def test_bad_picture(size):
    with pytest.raises(InputFault, match=r"^image="):
        plan(*size, aspect_ratio="1:1")


def test_a_target_is_checked_before_a_picture_is_known():
    with pytest.raises(InputFault, match=r"between 1:2\.5 and 2\.5:1"):
        Target(aspect_ratio="3:1")
    target = Target(aspect_ratio="16:9")
    assert [target.plan(size, size).units for size in (300, 900)] == [8, 8]


def test_what_came_back_can_be_of_a_shape_that_no_pass_takes():
    todo = plan(300, 750, aspect_ratio="2.5", fit="passes")
    assert len(todo.passes) == 2
    rest = todo.after(1300, 500)
    assert (rest.passes, rest.crop, rest.final_size) == ((), Box(25, 0, 1275, 500), (1250, 500))
    # One pass was announced, so one it is: what that cannot reach is cut off, and told.
    rest = todo.after(300, 1000)
    assert (len(rest.passes), rest.passes[0].input) == (1, (300, 360))
    assert rest.lost > 0.6


def test_what_came_back_can_be_too_small_to_go_on():
    todo = plan(1080, 1920, aspect_ratio="16:9", fit="passes")
    with pytest.raises(InputFault, match="begin with a larger one"):
        todo.after(256, 256)
    with pytest.raises(ValueError, match="0 passes were left"):
        todo.after(1024, 1024).after(1820, 1024).after(1, 1)


@pytest.mark.parametrize(
    ("wish", "label"),
    [
        ({"aspect_ratio": Fraction(8, 10)}, "4:5"),
        ({"aspect_ratio": 2.39}, "2.39"),
        ({"size": (900, 900)}, "900x900 px"),
        ({"pixels": (0, 0, 5, 0)}, "left 5 px"),
        ({"ratios": dict(zip(SIDES, (0.5, 0, 0, 0.25), strict=True))}, "up 0.5, right 0.25"),
    ],
)
def test_labels(wish, label):
    assert Target(**wish).label == label


@pytest.mark.parametrize(
    ("size", "target", "border"),
    [
        ((600, 600), {"aspect_ratio": "2:1", "anchor": "left"}, (0, 0, 0.5, 1)),
        ((600, 600), {"aspect_ratio": "2:1"}, (0.25, 0, 0.75, 1)),
        ((300, 300), {"pixels": (0, 0, 100, 0)}, (0.25, 0, 1, 1)),
        ((400, 400), {"pixels": {"up": 200, "right": 100}}, (0, 1 / 3, 0.8, 1)),
        ((400, 500), {"size": "500x500"}, (0.1, 0, 0.9, 1)),
    ],
)
def test_border_of_the_source(size, target, border):
    assert plan(*size, **target, for_video=False).border == pytest.approx(border, abs=2e-4)


def test_border_lies_outside_where_the_source_is_cut():
    made = plan(400, 1000, aspect_ratio="16:9", fit="crop", anchor="0.5,0.25")
    left, top, right, bottom = made.border
    assert 0 <= left < right <= 1
    assert top < 0.01 < 1 < bottom
    frame, box = made.frame, made.original
    assert (left, right) == pytest.approx([edge / made.final_size[0] for edge in box[::2]], abs=1 / made.final_size[0])
    assert (bottom - top) == pytest.approx(float(1000 / frame.height), abs=1e-6)


@pytest.mark.parametrize("sides", [(0.5, 0.25, 0, 0), (0, 0, 0.5, 0.3), (0.2, 0.2, 0.4, 0.1)])
def test_border_of_ratios_is_the_plans(sides):
    exact = plan(10_000, 10_000, ratios=sides, for_video=False).border
    assert border_of_ratios(*sides) == pytest.approx(exact, abs=1e-6)
