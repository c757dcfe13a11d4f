"""The run page's routes, asked by whom and for what they must refuse: refused, logged, nothing changed."""

from __future__ import annotations

import http.client
from urllib.parse import quote

import pytest
from run_page_site.flood import BODY, FRAMINGS, flood
from run_page_site.hostile import BATCHES, RUN_ID, SECRET

RUN = f"/kling/dags/ours/runs/{quote(RUN_ID, safe='')}"
#: Route -> an address that its reader gets an answer at.
ADDRESSES = {
    "/": "/kling/",
    "/runs": "/kling/runs",
    "/static/{name}": "/kling/static/run.js",
    "/dags/{dag_id}/runs/{run_id}": RUN,
    "/dags/{dag_id}/runs/{run_id}/items": f"{RUN}/items",
    "/dags/{dag_id}/runs/{run_id}/media/{task_id}/{map_index}/{row}/{at}/{variant}": f"{RUN}/media/good/-1/0/0/file",
    "/dags/{dag_id}/runs/{run_id}/source/{task_id}/{map_index}/{variant}": f"{RUN}/source/good/-1/small",
    "/dags/{dag_id}/runs/{run_id}/source/{task_id}/{map_index}/{row}/{variant}": f"{RUN}/source/batch/-1/0/small",
}
OF_A_DAG = [address for route, address in ADDRESSES.items() if "{dag_id}" in route]


@pytest.fixture
def ask(site, sessions):
    """Ask as a user; a refusal must be in the server's log."""

    def ask(address, user="reader", method="GET", **options):
        begun = site.log.stat().st_size
        answer = sessions[user].request(method, site.url + address, allow_redirects=False, timeout=60, **options)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert SECRET not in answer.content
        assert b"root:" not in answer.content
        if answer.status_code >= 400:
            assert f"with {answer.status_code}" in _log_since(site, begun)
        return answer

    return ask


def _log_since(site, begun):
    with site.log.open("rb") as log:
        log.seek(begun)
        return log.read().decode(errors="replace")


def test_every_route_is_asked_here():
    from airflow_kling.plugins.app import make_app

    assert {route.path for route in make_app().routes} == set(ADDRESSES)


@pytest.mark.parametrize("address", ADDRESSES.values())
def test_reader_gets_an_answer(ask, address):
    assert ask(address).status_code == 200


@pytest.mark.parametrize("address", ADDRESSES.values())
def test_without_login(ask, address):
    assert ask(address, None).status_code == 401


@pytest.mark.parametrize("token", ["x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWFkZXIiLCJyb2xlIjoiYWRtaW4ifQ."])
@pytest.mark.parametrize("address", ADDRESSES.values())
def test_with_a_forged_login(ask, address, token):
    assert ask(address, None, headers={"Authorization": f"Bearer {token}"}).status_code in (401, 403)
    assert ask(address, None, headers={"Cookie": f"_token={token}"}).status_code in (401, 403)


@pytest.mark.parametrize("address", OF_A_DAG)
def test_who_may_not_read_the_dag(ask, address):
    answer = ask(address, "stranger")
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})
    # Not by naming another DAG, which they may read, either.
    for trick in ("?dag_id=theirs", "?dag_id=~", "?param_dag_id=theirs"):
        assert ask(address + trick, "stranger").status_code == 403
    assert ask(address.replace("/dags/ours/", "/dags/~/"), "stranger").status_code == 403
    assert ask(address.replace("/dags/ours/", "/dags/nonesuch/"), "stranger").status_code == 403


@pytest.mark.parametrize(
    ("user", "allowed"), [("no-runs", {"/", "static", "media"}), ("no-tasks", {"/", "/runs", "static", "media"})]
)
def test_who_may_not_read_a_part_of_the_dag(ask, user, allowed):
    for route, address in ADDRESSES.items():
        open_to = route in allowed or any(f"/{name}/" in route for name in allowed)
        assert ask(address, user).status_code == (200 if open_to else 403), route


def test_a_list_shows_only_what_its_reader_may_read(ask):
    assert _listed(ask, "reader") == {"ours", "theirs"}
    assert _listed(ask, "stranger") == {"theirs"}


def _listed(ask, user):
    return {run["dag_id"] for run in ask("/kling/runs", user).json()["runs"]}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("address", ADDRESSES.values())
def test_nothing_but_reading(ask, address, method):
    assert ask(address, method=method).status_code == 405


@pytest.mark.parametrize(
    "tail", ["..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%252e%252e%252fetc", "%00"]
)
@pytest.mark.parametrize(
    "place",
    [
        "/kling/static/{}",
        "/kling/static//{}",
        "/kling/static/%2fetc%2fpasswd?{}",
        "/kling/dags/{}/runs/r/items",
        "/kling/dags/ours/runs/{}/items",
        RUN + "/media/{}/-1/0/0/file",
        RUN + "/media/good/{}/0/0/file",
        RUN + "/media/good/-1/0/{}/file",
        RUN + "/media/good/-1/0/0/{}",
        RUN + "/source/{}/-1/small",
        RUN + "/source/good/-1/{}",
        RUN + "/source/batch/-1/{}/small",
    ],
)
def test_paths_that_lead_elsewhere(site, sessions, place, tail):
    # As they are on the wire: a client would tidy them up.
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    begun = site.log.stat().st_size
    connection.request("GET", place.format(tail), headers={"Cookie": f"_token={sessions['reader'].cookies['_token']}"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status in (404, 422), content[:200]
    assert SECRET not in content
    assert b"root:" not in content
    assert str(answer.status) in _log_since(site, begun)


def test_a_path_cannot_write_into_the_log(site, ask):
    begun = site.log.stat().st_size
    ask("/kling/static/x%0D2026-01-01%20[critical]%20forged%1B[31m")
    (ours,) = [line for line in _log_since(site, begun).split("\n") if "Refused" in line]
    assert "\\r2026-01-01" in ours
    assert not {"\r", "\x1b"} & set(ours)


def test_what_a_result_may_not_name(ask, named):
    told = {}
    for name in named:
        for variant in ("file", "small", "large"):
            answer = ask(f"{RUN}/media/names-{name}/-1/0/0/{variant}")
            assert answer.status_code in (403, 404, 415), (name, variant)
            assert answer.headers["Content-Type"] == "application/json"
            told[name] = answer.json()["reason"]
    assert told["passwd"] == told["dots"] == told["link"] == told["sibling"] == told["http"] == told["bucket"]
    assert "outside [kling] media_roots" in told["passwd"]
    assert "not here" in told["missing"]
    assert "no picture" in told["page"]
    assert told["none"] == "it was not stored: the task has no output_path"


def test_what_a_source_may_not_be(ask, named):
    for name in named:
        for variant in ("small", "large", "border"):
            answer = ask(f"{RUN}/source/made-of-{name}/-1/{variant}")
            assert answer.status_code in (403, 404, 415), (name, variant)
    assert ask(f"{RUN}/source/unread/-1/small").status_code == 404
    # Of a source there are thumbnails only.
    assert ask(f"{RUN}/source/good/-1/file").status_code == 422


@pytest.mark.parametrize(
    "address",
    [
        "media/good/-1/0/1/file",
        "media/good/-1/1/0/file",
        "media/good/0/0/0/file",
        f"media/good/{2**31}/0/0/file",
        "media/nonesuch/-1/0/0/file",
        "media/not-ours/-1/0/0/file",
        "source/not-ours/-1/small",
        "media/good/-1/0/0/other.png",
        "media/good/-1/0/0/file/other.png",
        "media/as-text/-1/0/0/file",
        "media/batch/-1/0/1/file",
        "media/batch/-1/1/0/file",
        "media/batch/-1/9999/0/file",
        f"media/batch/-1/{10**30}/0/file",
        "media/batch-odd/-1/0/0/file",
        "media/batch-number/-1/0/0/file",
        "media/batch-not-ours/-1/0/0/file",
        "source/batch-not-ours/-1/0/small",
        "source/batch/-1/1/small",
        "source/batch/-1/9999/small",
        "source/good/-1/0/small",
        *(f"media/odd-{number}/-1/0/0/file" for number in range(10)),
        *(f"source/oddly-made-{number}/-1/small" for number in range(3)),
    ],
)
def test_another_tasks_file_cannot_be_named(ask, address):
    assert ask(f"{RUN}/{address}").status_code in (403, 404, 422)


def test_the_page_of_all_of_this_is_shown(ask, named):
    answers = [ask(f"{RUN}/items?limit=100&offset={offset}") for offset in (0, 100, 200)]
    assert {answer.status_code for answer in answers} == {200}
    shown = [item["task_id"] for answer in answers for item in answer.json()["items"]]
    assert len(shown) == answers[0].json()["total"]
    assert set(shown) >= {f"names-{name}" for name in named}
    assert not {"not-ours", "batch-not-ours"} & set(shown)


def test_what_a_row_of_a_batch_may_not_name(ask, named):
    assert ask(f"{RUN}/media/batch/-1/0/0/file").headers["Content-Type"] == "image/png"
    assert ask(f"{RUN}/media/batch-failed/-1/0/0/small").status_code == 200
    for number, name in enumerate(named, 2):
        for variant in ("file", "small", "large"):
            assert ask(f"{RUN}/media/batch/-1/{number}/0/{variant}").status_code in (403, 404, 415), name
        for variant in ("small", "large"):
            assert ask(f"{RUN}/source/batch/-1/{number}/{variant}").status_code in (403, 404, 415), name


@pytest.mark.parametrize("name", BATCHES)
def test_what_a_batch_may_not_name_as_its_results(ask, name):
    for address in (f"media/batch-{name}/-1/0/0/file", f"source/batch-{name}/-1/0/small"):
        answer = ask(f"{RUN}/{address}")
        assert answer.status_code in (403, 404, 415)
        assert set(answer.json()) == {"reason"}
    (shown,) = ask(f"{RUN}/items?task_id=batch-{name}").json()["items"]
    assert shown["batch"]["reason"] == answer.json()["reason"]
    assert (shown["source"], shown["media"]) == (None, None)


def test_rows_of_a_batch_that_are_none_hide_no_other(ask):
    shown = ask(f"{RUN}/items?task_id=batch-odd&limit=100").json()["items"]
    assert [item["media"] for item in shown][-1].startswith("media/batch-odd/-1/")
    told = [item["message"] for item in shown]
    # One of them is a manifest like any other; of a place that is none.
    assert (told.count("this row of the results cannot be read"), len(told)) == (len(told) - 2, 14)


def test_pictures_that_harm_the_server(ask):
    for task in ("broken", "bomb"):
        answer = ask(f"{RUN}/media/{task}/-1/0/0/small")
        assert (answer.status_code, set(answer.json())) == (415, {"reason"})


def test_type_is_what_the_bytes_are_and_not_what_the_name_says(ask):
    assert ask(f"{RUN}/media/misnamed/-1/0/0/file").headers["Content-Type"] == "image/jpeg"
    assert ask(f"{RUN}/media/clip/-1/0/0/file").headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize(
    ("asked", "status", "told", "length"),
    [
        ("bytes=0-9", 206, "bytes 0-9/1036", 10),
        ("bytes=1030-", 206, "bytes 1030-1035/1036", 6),
        ("bytes=-5", 206, "bytes 1031-1035/1036", 5),
        ("bytes=0-999999999", 206, "bytes 0-1035/1036", 1036),
        ("bytes=1036-", 416, "bytes */1036", 0),
        ("bytes=-0", 416, "bytes */1036", 0),
        ("bytes=0-1,5-6", 200, None, 1036),
        ("bytes=9-0", 200, None, 1036),
        ("lines=1-2", 200, None, 1036),
        ("bytes=" + "9" * 40 + "-", 200, None, 1036),
    ],
)
def test_ranges(ask, media, asked, status, told, length):
    answer = ask(f"{RUN}/media/clip/-1/0/0/file", headers={"Range": asked, "Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, told)
    whole = (media / "clip.mp4").read_bytes()
    first = int(told.split()[1].split("-")[0]) if status == 206 else 0
    assert answer.content == whole[first : first + length]


@pytest.mark.parametrize("user", ["reader", None])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("address", ["/kling/runs", f"{RUN}/items", f"{RUN}/media/good/-1/0/0/file", "/kling/nonesuch"])
def test_a_body_of_50_mb(site, sessions, address, method, framing, user):
    members = site.processes()
    before = sum(member.memory_info().rss for member in members)
    begun = site.log.stat().st_size
    cookie = f"Cookie: _token={sessions[user].cookies['_token']}\r\n" if user else ""
    sent, answer = flood(site.port, f"{method} {address}", framing, cookie)
    assert answer.startswith(b"HTTP/1.1 413") or (not answer and sent < BODY)
    assert sum(member.memory_info().rss for member in members) - before < BODY // 2
    assert "with 413" in _log_since(site, begun)
