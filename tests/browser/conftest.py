"""A browser, a real API server, and runs that the emulator made; screenshots go to ``$KLING_ARTEFACTS``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from airflow_kling.emulator.settings import EmulatorSettings

HERE = Path(__file__).parent
# The package of the run page's suites: test modules are imported one by one, and know no siblings.
sys.path.insert(0, str(HERE.parent))


@pytest.fixture(scope="session")
def folders(tmp_path_factory, photographs):
    """The media root with source pictures in it, and a folder outside of it."""
    from PIL import Image

    top = tmp_path_factory.mktemp("browser")
    media, elsewhere = top / "media", top / "elsewhere"
    media.mkdir()
    for name in ("coffee", "chelsea", "astronaut"):
        with Image.open(photographs / f"{name}.png") as image:
            image.convert("RGB").save(media / f"{name}.jpg", quality=90)
    return media, elsewhere


@pytest.fixture(scope="session")
def emulator():
    from leak_search import mark_signatures

    from airflow_kling.emulator.server import EmulatorServer

    with (
        pytest.MonkeyPatch.context() as patch,
        EmulatorServer(EmulatorSettings(latency=0.2, engine="reflect")) as server,
    ):
        mark_signatures(patch)
        yield server


@pytest.fixture(scope="session")
def site(folders, emulator, tmp_path_factory):
    from leak_search import keep_deleted, search
    from run_page_site.server import Site

    media, elsewhere = folders
    with Site(
        tmp_path_factory.mktemp("site"),
        str(media),
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE / "dags"),
        AIRFLOW_CONN_KLING_DEFAULT=emulator.connection_uri("kling"),
        KLING_TEST_PICTURES=":".join(str(path) for path in sorted(media.glob("*.jpg"))),
        KLING_TEST_OUT=str(media / "out"),
        KLING_TEST_ELSEWHERE=str(elsewhere),
        AIRFLOW__CORE__FERNET_KEY="",
    ) as running:
        keep_deleted(running.home / "airflow.db")
        yield running
    assert search([running.home, media, elsewhere]) == []


@pytest.fixture(scope="session")
def run_id(site):
    """A run that is over; one of its tasks fails."""
    site.test_dag("kling_page").wait(240)
    return site.latest_run("kling_page")


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = os.environ.get("KLING_CHROMIUM") or (own if Path(own).exists() else shutil.which("chromium"))
        assert path, "No Chromium: run `playwright install --with-deps chromium`, or name one in KLING_CHROMIUM"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, site, sessions):
    """Open a page as a user of Airflow; what it says on the console counts."""
    contexts = []

    def open_page(address, *, user="reader", width=1280, height=900, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        if user:
            token = sessions[user].cookies["_token"]
            context.add_cookies([{"name": "_token", "value": token, "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.goto(site.url + address)
        return page

    yield open_page
    for context in contexts:
        assert not [fault for page in context.pages for fault in getattr(page, "faults", ())]
        context.close()


@pytest.fixture(scope="session")
def sessions(site):
    return {user: site.login(user) for user in ("reader", "stranger")}


@pytest.fixture
def keep(request):
    """Write a screenshot."""
    folder = Path(os.environ.get("KLING_ARTEFACTS") or HERE.parents[1] / "artefacts") / "browser"
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page, name):
        page.wait_for_timeout(400)  # for what fades in
        page.screenshot(path=folder / f"{name}.png")

    return keep
