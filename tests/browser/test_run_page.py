"""The run page in Chromium, inside Airflow's UI and by itself, of runs that the emulator made."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

TOOK_41_S = {"created_at": "2026-11-20T10:00:00Z", "finished_at": "2026-11-20T10:00:41Z"}
MARKUP = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'


def tab(run_id, dag_id="kling_page"):
    """Return the address of Airflow's tab of a run."""
    return f"/dags/{dag_id}/runs/{quote(run_id, safe=':+')}/plugin/kling-run"


def alone(run_id, dag_id="kling_page"):
    """Return the address of the page without Airflow's frame."""
    return f"/kling/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def inside(page):
    return page.frame_locator("iframe[title=Kling]")


def card(page, name):
    return page.locator(".card", has_text=name)


def test_from_airflows_navigation_to_a_run(open_page, run_id, keep):
    page = open_page("/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Kling").click()
    frame = inside(page)
    keep(page, "runs")
    frame.get_by_role("link", name=run_id).click()
    page.wait_for_url(f"**{tab(run_id)}")
    expect(inside(page).locator(".card")).to_have_count(7)


def test_from_a_tasks_link(open_page, site, sessions, run_id, keep):
    def links(task_id, index=""):
        where = f"/api/v2/dags/kling_page/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/links{index}"
        return sessions["reader"].get(site.url + where).json()["extra_links"]

    assert links("expand", "?map_index=1")["Kling run page"].endswith("?task_id=expand&map_index=1")
    assert "Kling run page" not in links("plain")
    page = open_page(f"/dags/kling_page/runs/{quote(run_id, safe='')}/tasks/wide/details")
    page.get_by_role("link", name="Kling run page").click()
    page.wait_for_timeout(1_000)
    frame = inside(page.context.pages[-1])  # before Airflow 3.2, in a tab of its own
    expect(frame.locator("#only")).to_contain_text("Only task wide")
    expect(frame.locator(".card")).to_have_count(1)
    keep(page.context.pages[-1], "one-task")
    frame.get_by_role("button", name="Show all of the run").click()
    expect(frame.locator(".card")).to_have_count(7)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_before_and_after(open_page, site, run_id, keep, scheme):
    page = open_page(tab(run_id), scheme=scheme)
    frame = inside(page)
    expect(frame.locator(".card img.here")).to_have_count(5)  # four pictures, and what the clip was made of
    keep(page, f"grid-{scheme}")
    card(frame, "expand [0]").click()
    detail = frame.locator("#detail")
    expect(detail.locator(".after img.here")).to_be_visible()
    keep(page, f"compare-{scheme}")
    border = detail.locator(".border")
    share = border.evaluate("b => b.offsetWidth / b.parentElement.offsetWidth")
    assert share == pytest.approx(1 / 1.8, abs=0.02)
    slider = detail.get_by_role("slider")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "30 % before, 70 % after"
    assert "30%" in detail.locator(".compare").get_attribute("style")
    detail.get_by_text("The old border").click()
    expect(border).to_be_hidden()
    facts = detail.locator("#facts")
    for fact in ("image-expansion", "a wooden table", "8", "$0.028", "astronaut.jpg", "px"):
        expect(facts).to_contain_text(fact)
    expect(facts.locator("code")).to_have_text(re.compile(r"\w{6,}"))
    # As Airflow shows it, in its colours.
    paper = "e => getComputedStyle(e).backgroundColor"
    assert frame.locator("body").evaluate(paper) == page.locator("html").evaluate(paper)
    address = facts.get_by_role("link", name="Open the stored file").evaluate("a => a.href")
    answer = page.request.get(address)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    facts.get_by_role("link", name="expand [0]").click()
    page.wait_for_url("**/tasks/expand/mapped/0*")


def test_the_old_border_of_an_aspect_is_planned_from_the_source(open_page, run_id, keep):
    page = open_page(alone(run_id))
    card(page, "wide").click()
    border = page.locator("#detail .border")
    expect(border).to_be_visible()
    left, width = border.evaluate("b => [b.style.left, b.style.width]")
    assert left in ("0%", "-0%")
    assert 40 < float(width.rstrip("%")) < 80
    keep(page, "aspect")


def test_the_clip_plays(open_page, run_id, keep):
    page = open_page(tab(run_id))
    parts = []
    page.on("response", lambda answer: parts.append(answer.status) if answer.url.endswith("/file") else None)
    frame = inside(page)
    card(frame, "film").click()
    video = frame.locator("#detail video")
    page.wait_for_function("document.querySelector('iframe').contentDocument.querySelector('video')?.currentTime > 0.3")
    assert video.evaluate("v => v.videoWidth") > 0
    assert set(parts) == {206}
    keep(page, "clip")


def test_what_cannot_be_shown_says_why(open_page, run_id, keep):
    page = open_page(alone(run_id))
    expect(card(page, "lost")).to_contain_text("it lies outside [kling] media_roots")
    expect(card(page, "fails").locator(".badge")).to_have_text("failed")
    page.get_by_role("button", name="Failed 1").click()
    expect(page.locator(".card")).to_have_count(1)
    card(page, "fails").click()
    expect(page.locator("#facts code")).to_have_text(re.compile(r"\w{6,}"))
    keep(page, "failed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen(open_page, run_id, keep, scheme):
    page = open_page(alone(run_id), width=390, height=844, scheme=scheme)
    expect(page.locator(".card img.here").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, f"narrow-{scheme}")
    card(page, "expand [1]").click()
    expect(page.locator("#detail .after img.here")).to_be_visible()
    assert page.locator("#detail").evaluate("d => d.scrollWidth <= d.clientWidth")
    keep(page, f"narrow-compare-{scheme}")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()


def test_light_turns_dark_with_airflow(open_page, run_id):
    page = open_page(tab(run_id))
    body = inside(page).locator("body")
    expect(body).to_be_visible()
    before = body.evaluate("b => getComputedStyle(b).backgroundColor")
    page.evaluate("document.documentElement.className = 'dark'")
    page.wait_for_function(
        "document.querySelector('iframe').contentDocument.documentElement.classList.contains('dark')"
    )
    assert body.evaluate("b => getComputedStyle(b).backgroundColor") != before


def test_live_while_a_task_waits(open_page, site, keep):
    from airflow_kling.emulator.server import EmulatorServer
    from airflow_kling.emulator.settings import EmulatorSettings

    with EmulatorServer(EmulatorSettings(latency=12, engine="reflect")) as slow:
        running = site.test_dag("kling_live", AIRFLOW_CONN_KLING_DEFAULT=slow.connection_uri("kling"))
        try:
            run = site.latest_run("kling_live", submitted=True)
            earlier = {"task_id": "expand", "xcoms": {"return_value": made("x", "E1", **TOOK_41_S)}}
            site.seed({"dag_id": "kling_live", "run_id": "earlier", "age": 9_000, "tasks": [earlier]})
            page = open_page(alone(run, "kling_live"))
            elapsed = page.locator(".card .elapsed")
            expect(elapsed).to_have_text(re.compile(r"^\d+ s$"))
            first = elapsed.text_content()
            expect(page.locator(".card")).to_contain_text("usually 41 s")
            keep(page, "waiting")
            expect(elapsed).not_to_have_text(first, timeout=5_000)
            expect(page.locator(".card img.here")).to_have_count(1, timeout=60_000)
            expect(page.get_by_role("button", name="Done 1")).to_be_visible()
        finally:
            running.wait(120)


def test_pages_of_many(open_page, site, folders):
    picture = str(folders[0] / "coffee.jpg")
    rows = [
        {"task_id": "many", "map_index": number, "xcoms": {"return_value": made(picture, f"M{number}")}}
        for number in range(60)
    ]
    site.seed({"dag_id": "many", "run_id": "r", "tasks": rows})
    page = open_page(alone("r", "many"))
    expect(page.locator("#where")).to_have_text("1-24 of 60")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator("#where")).to_have_text("25-48 of 60")
    expect(page.locator(".card").first).to_contain_text("many [24]")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator(".card")).to_have_count(12)
    expect(page.get_by_role("button", name="Next", exact=True)).to_be_disabled()
    expect(page.locator("#money")).to_have_text("480 units, $1.68 at list price")


@pytest.fixture(scope="module")
def batch_run(site):
    """A run of two batches: pictures, one of which is missing, and their clips."""
    site.test_dag("kling_batch").wait(240)
    return site.latest_run("kling_batch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pictures_of_a_batch(open_page, batch_run, keep, scheme):
    page = open_page(tab(batch_run, "kling_batch"), scheme=scheme)
    frame = inside(page)
    expect(frame.locator(".card")).to_have_count(10)  # 3 pictures, 2 of a row, a fault; a clip of each row
    expect(frame.locator(".card img.here")).to_have_count(9)
    keep(page, f"batch-{scheme}")
    expect(frame.locator("#money")).to_contain_text("units, $")
    card(frame, "expand #2 chelsea.jpg").click()
    detail = frame.locator("#detail")
    expect(detail.locator(".after img.here")).to_be_visible()
    border = detail.locator(".border")
    left, width = border.evaluate("b => [b.style.left, b.style.width]")
    assert float(left.rstrip("%")) == pytest.approx((100 - float(width.rstrip("%"))) / 2, abs=0.1)
    keep(page, f"batch-compare-{scheme}")
    for fact in ("image-expansion", "chelsea.jpg", "8", "$0.028", "succeeded"):
        expect(detail).to_contain_text(fact)
    page.keyboard.press("Escape")
    frame.get_by_role("button", name="Failed 1").click()
    expect(frame.locator(".card")).to_have_count(1)
    expect(card(frame, "expand #5 missing.png")).to_contain_text("missing.png")
    keep(page, f"batch-failed-{scheme}")


def test_a_clip_of_a_batch_plays(open_page, batch_run, keep):
    page = open_page(tab(batch_run, "kling_batch"))
    card(inside(page), "film #1").click()
    page.wait_for_function("document.querySelector('iframe').contentDocument.querySelector('video')?.currentTime > 0.3")
    expect(inside(page).locator("#facts")).to_contain_text("task ")
    keep(page, "batch-clip")


def test_a_clip_that_is_gone_says_so_on_a_hatched_stage(open_page, batch_run, keep):
    page = open_page(tab(batch_run, "kling_batch"))
    page.route("**/file", lambda route: route.fulfill(status=404, json={"reason": "the file is gone"}))
    card(inside(page), "film #1").click()
    stage = inside(page).locator("#detail .frame.missing")
    expect(stage).to_have_text("No preview the file is gone")
    assert "repeating-linear-gradient" in stage.evaluate("frame => getComputedStyle(frame).backgroundImage")
    keep(page, "clip-gone")


def test_a_batch_tells_how_far_it_is_and_what_hinders_it(open_page, site, folders, keep):
    progress = {"rows": 10_000, "done": 4_321, "failed": 12, "running": 9, "units": 8.0}
    counts = {"succeeded": 9_998, "failed": 2}
    result = {"results": str(folders[1] / "r.jsonl"), "family": "image-expansion", "rows": 10_000, "counts": counts}
    rows = [
        {"task_id": "going", "state": "running", "xcoms": {"progress": progress}},
        {"task_id": "unseen", "xcoms": {"return_value": result | {"units": 79_984.0}}},
        {"task_id": "odd", "state": "running", "xcoms": {"progress": {"done": 5}}},
    ]
    batches = [row | {"operator": "KlingExpandBatchOperator"} for row in rows]
    # As an address, such an id has the look of a scheme.
    site.seed({"dag_id": "batches", "run_id": "daily:1", "state": "running", "tasks": batches})
    page = open_page(alone("daily:1", "batches").replace("%3A", ":"))
    going = card(page, "going")
    for told in ("4,321 of 10,000", "12 failed, 9 running", "batch of 10,000 pictures"):
        expect(going).to_contain_text(told)
    assert going.locator("progress").evaluate("bar => bar.position") == pytest.approx(0.4321)
    expect(card(page, "odd")).to_contain_text("5 of 0")
    expect(card(page, "unseen")).to_contain_text("9,998 succeeded, 2 failed")
    expect(card(page, "unseen")).to_contain_text("it lies outside [kling] media_roots")
    keep(page, "batch-going")
    card(page, "unseen").click()
    page.get_by_role("button", name="Show this batch alone").click()
    expect(page.locator("#only")).to_contain_text("Only task unseen")


def test_markup_stays_text(open_page, site, folders):
    picture = folders[0] / '"><img src=x onerror="window.hit=1">.png'
    picture.parent.mkdir(exist_ok=True)
    site.seed(
        {
            "dag_id": f"dag{MARKUP}".replace("/", "_"),
            "run_id": f"run{MARKUP}".replace("/", "_"),
            "tasks": [
                {
                    "task_id": f"task{MARKUP}".replace("/", "_"),
                    "map_index": 0,
                    "label": MARKUP,
                    "hostname": MARKUP,
                    "state": state,
                    "xcoms": {
                        "_link_KlingTaskLink": MARKUP,
                        "return_value": made(str(picture), MARKUP, message=MARKUP, family=MARKUP),
                    },
                    "rendered": {"prompt": MARKUP, "image": f"/x/{MARKUP}"},
                }
                for state in ("success",)
            ]
            + [{"task_id": "waits", "state": MARKUP[:19], "xcoms": {"task_id": MARKUP}}],
        }
    )
    dag_id, run = (f"{name}{MARKUP}".replace("/", "_") for name in ("dag", "run"))
    page = open_page(alone(run, dag_id))
    expect(page.locator(".card")).to_have_count(2)
    for number in range(2):
        page.locator(".card").nth(number).click()
        expect(page.locator("#facts")).to_contain_text("onerror")
        page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x], script:not([src])").count() == 0
    page.goto(site.url + "/kling/")
    expect(page.locator("tbody")).to_contain_text("onerror")
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x], script:not([src])").count() == 0


def test_who_may_not_read_the_dag_is_told(open_page, run_id):
    assert open_page(alone(run_id), user="stranger").locator("body").text_content() == '{"detail":"Forbidden"}'


def made(uri, task_id, **more):
    output = {"index": 0, "kind": "image", "uri": uri, "width": 600, "height": 400, "duration": None}
    return {
        "family": "image-expansion",
        "task_id": task_id,
        "status": "succeeded",
        "units": 8,
        "outputs": [output],
    } | more
