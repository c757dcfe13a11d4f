"""
The table of faults: how a run meets each of them, in every mode, and how many tasks are made and billed.

    pytest tests/faults -s     # shows a line per row
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from airflow_kling.emulator.faults import FAULTS

MODES = ("deferrable", "not deferrable", "split")

READ_TIMEOUT = 5.0
STALL_READ_TIMEOUT = 0.05
"""Seconds until a stalled answer is given up; the machine's, for a socket's time cannot be skipped."""

#: Connections by what their gateway can be asked. Only Kling's own "not found" is believed.
GATEWAYS = {
    "kling": {},
    "kling, key pair": {"key_pair": True},
    "no look-up": {"gateway": "cometapi"},
    "list only": {"gateway": "cometapi", "list_tasks": "yes"},
}


@dataclass(frozen=True)
class Row:
    """
    One row of the table.

    :param words: Faults as prompts name them, without the brackets.
    :param ends: ``success``, or the class of the error.
    :param accepted: Tasks that are made.
    :param gateway: One of :data:`GATEWAYS`.
    :param rules: Faults for ``/_emulator/faults``, which a prompt cannot ask for.
    :param billed: Tasks that are billed; those that are made where nothing is said.
    :param split_ends: How the split shape ends, where that differs.
    """

    words: str
    ends: str
    accepted: int
    gateway: str = "kling"
    rules: str = ""
    billed: int | None = None
    split_ends: str = ""

    @property
    def prompt(self) -> str:
        """The words as the emulator reads them."""
        return "".join(f"[emulator:{word}]" for word in self.words.split())

    @property
    def name(self) -> str:
        """Gateway and faults."""
        return ", ".join(filter(None, (self.gateway, self.words, self.rules and f"rule {self.rules}")))


CREATES = (
    # Nothing was made: sent again once that is certain, given up where it stays.
    Row("reset-before-reading=1", "success", 1),
    Row("reset-before-reading", "KlingConnectionError", 0),
    Row("error-before-accepting=1", "success", 1),
    Row("error-before-accepting", "KlingServerError", 0),
    Row("truncated-json=1", "success", 1),
    Row("truncated-json", "KlingServerError", 0),
    Row("html-page=1", "success", 1),
    Row("html-page", "KlingServerError", 0),
    # It was made, and the answer lost: found by its external id, never made again.
    Row("reset-after-accepting=1", "success", 1),
    Row("reset-after-accepting", "success", 1),
    Row("stall-after-accepting=1", "success", 1),
    Row("stall-after-accepting", "success", 1),
    Row("error-after-accepting=1", "success", 1),
    Row("error-after-accepting", "success", 1),
    Row("bad-gateway-after-accepting=1", "success", 1),
    Row("bad-gateway-after-accepting", "success", 1),
    Row("truncated-json-after-accepting=1", "success", 1),
    Row("truncated-json-after-accepting", "success", 1),
    Row("html-page-after-accepting=1", "success", 1),
    Row("html-page-after-accepting", "success", 1),
    # Refused for good: no retry.
    Row("clock-skew=1", "KlingAuthError", 0),
    Row("clock-skew", "KlingAuthError", 0),
    Row("clock-skew=1", "success", 1, "kling, key pair"),
    Row("clock-skew", "KlingAuthError", 0, "kling, key pair"),
    Row("content=1", "KlingContentRejected", 0),
    Row("content", "KlingContentRejected", 0),
    Row("balance=1", "KlingAccountError", 0),
    Row("balance", "KlingAccountError", 0),
    # Busy: waited for, up to submit_timeout.
    Row("rate=3", "success", 1),
    Row("rate", "KlingRateLimited", 0),
    Row("concurrency=3", "success", 1),
    Row("concurrency", "KlingConcurrencyExceeded", 0),
    # What becomes of the task.
    Row("hang", "KlingTaskTimeout", 1, billed=0, split_ends="AirflowSensorTimeout"),
    Row("unknown-word", "KlingTaskTimeout", 1, billed=0, split_ends="AirflowSensorTimeout"),
    Row("fail", "KlingTaskFailed", 1, billed=0),
    Row("no-lookup", "success", 1),
    # Rules fire before the body is read, prompts cannot.
    Row("", "success", 1, rules="reset-before-reading=1"),
    Row("", "KlingConnectionError", 0, rules="reset-before-reading"),
)

#: Faults in a poll -> what their persistence ends in; a single one ends nothing. The task is paid all the while.
POLLS = {
    "reset-before-reading": "KlingConnectionError",
    "reset-after-accepting": "KlingConnectionError",
    "stall-after-accepting": "KlingConnectionError",
    "error-before-accepting": "KlingServerError",
    "error-after-accepting": "KlingServerError",
    "bad-gateway-after-accepting": "KlingServerError",
    "truncated-json": "KlingServerError",
    "truncated-json-after-accepting": "KlingServerError",
    "html-page": "KlingServerError",
    "html-page-after-accepting": "KlingServerError",
    "clock-skew": "KlingAuthError",
    "rate": "KlingRateLimited",
}
QUERIES = (
    *(Row(f"{fault}@query=1", "success", 1) for fault in POLLS),
    *(Row(f"{fault}@query", error, 1) for fault, error in POLLS.items()),
    Row("no-lookup@query", "success", 1),
)

#: The same of a download: collected again by a retry, at no cost.
DOWNLOADS_THAT_FAIL = {
    "reset-before-reading": "KlingConnectionError",
    "reset-after-accepting": "KlingConnectionError",
    "stall-after-accepting": "KlingConnectionError",
    "bad-gateway-after-accepting": "KlingConnectionError",
    "html-page": "KlingServerError",
    "html-page-after-accepting": "KlingServerError",
    "expired-download": "KlingConnectionError",
    "corrupt-download": "KlingServerError",
}
DOWNLOADS = (
    *(Row(f"{fault}@download=2", "success", 1) for fault in DOWNLOADS_THAT_FAIL),
    *(Row(f"{fault}@download", error, 1) for fault, error in DOWNLOADS_THAT_FAIL.items()),
)

#: Faults that lose the answer of a create that was accepted.
LOST = [name for name in FAULTS if name.endswith("after-accepting")]
#: Faults after which nothing was made, and nobody but the gateway knows.
UNCLEAR = ["reset-before-reading", "error-before-accepting", "truncated-json", "html-page"]
#: The answer is lost, and the task has to be found in the list.
ASKS_THE_LIST = "no-lookup reset-after-accepting=1"

BLIND = (
    # It cannot be told whether a task exists: stop, and never send another create.
    *(Row(f"no-lookup {fault}=1", "KlingSubmissionUnknown", 1, "no look-up") for fault in LOST),
    *(Row(f"no-lookup {fault}=1", "KlingSubmissionUnknown", 0, "no look-up") for fault in UNCLEAR),
    *(Row(f"{fault}=1", "KlingSubmissionUnknown", 0, "no look-up") for fault in UNCLEAR),
    # What is found counts, whoever finds it.
    *(Row(f"{fault}=1", "success", 1, "no look-up") for fault in LOST),
    # What is told needs no look-up.
    Row("no-lookup", "success", 1, "no look-up"),
    Row("no-lookup rate=3", "success", 1, "no look-up"),
    Row("no-lookup concurrency=3", "success", 1, "no look-up"),
    Row("no-lookup content", "KlingContentRejected", 0, "no look-up"),
    Row("no-lookup balance", "KlingAccountError", 0, "no look-up"),
    Row("no-lookup clock-skew", "KlingAuthError", 0, "no look-up"),
    Row("no-lookup fail", "KlingTaskFailed", 1, "no look-up", billed=0),
    Row("no-lookup hang", "KlingTaskTimeout", 1, "no look-up", billed=0, split_ends="AirflowSensorTimeout"),
)

LISTS = (
    *(Row(f"no-lookup {fault}=1", "success", 1, "list only") for fault in LOST),
    *(Row(f"no-lookup {fault}=1", "success", 1, "list only") for fault in UNCLEAR),
    *(Row(ASKS_THE_LIST, "success", 1, "list only", f"{fault}@list=1") for fault in POLLS if fault != "clock-skew"),
    *(Row(ASKS_THE_LIST, error, 1, "list only", f"{fault}@list") for fault, error in POLLS.items()),
)

#: The answer is lost, and so are those of the questions about it.
TWICE = (
    *(Row(f"reset-after-accepting=1 {fault}@query=2", "success", 1) for fault in POLLS if fault != "clock-skew"),
    *(Row(f"reset-after-accepting=1 {fault}@query", error, 1) for fault, error in POLLS.items()),
)

TABLE = (*CREATES, *QUERIES, *DOWNLOADS, *BLIND, *LISTS, *TWICE)


def test_every_fault_is_in_the_table_wherever_it_can_strike():
    words = {word for row in TABLE for word in _words(row)}
    tested = {(name, place or FAULTS[name].default_places[0].value) for name, place in words}
    assert tested == {(fault.name, place.value) for fault in FAULTS.values() for place in fault.places}


WORD = re.compile(r"([a-z-]+)(?:@([a-z]+))?(?:=(\d+))?")


def _words(row: Row) -> list[tuple[str, str]]:
    """Return fault and place of each word and rule; the place may be left out."""
    return [(name, place) for name, place, _ in WORD.findall(f"{row.words} {row.rules}")]


@pytest.fixture
def ask(fault_emulator, monkeypatch):
    """Point ``kling_default`` to the emulator through a row's gateway, and give the emulator the row's rules."""

    def set_up(row: Row) -> None:
        options = dict(GATEWAYS[row.gateway])
        key_pair, gateway = options.pop("key_pair", False), options.pop("gateway", "kling")
        connection = json.loads(fault_emulator.connection_uri(gateway, key_pair=key_pair))
        connection["extra"] |= options
        monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", json.dumps(connection))
        for rule in row.rules.split():
            name, place, times = WORD.fullmatch(rule).groups()
            fields = {"fault": name, "on": place, "times": times and int(times)}
            body = {key: value for key, value in fields.items() if value is not None}
            requests.post(f"{fault_emulator.url}/_emulator/faults", json=body, timeout=5).raise_for_status()
        seconds = STALL_READ_TIMEOUT if "stall" in row.name else READ_TIMEOUT
        monkeypatch.setattr("airflow_kling.api.calls.READ_TIMEOUT", seconds)
        monkeypatch.setattr("airflow_kling.hooks.storage.READ_TIMEOUT", seconds)

    return set_up


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_fault(airflow, ask, fault_emulator, row, mode):
    ask(row)
    end = airflow.run(mode, row.prompt)
    ledger = fault_emulator.state.ledger()
    print(f"{row.name}, {mode}: {end.name} after {end.tries} tries, accepted {ledger['accepted_tasks']}")
    expected = row.split_ends if mode == "split" and row.split_ends else row.ends
    assert (end.name, ledger["accepted_tasks"]) == (expected, row.accepted), repr(end.error)
    if end.error is None:
        assert _is_stored(end.manifest)
    elif row.accepted:
        assert _names_the_task(end.error, ledger), end.error
    _advance_beyond_the_end(fault_emulator)
    assert fault_emulator.state.ledger()["billed_tasks"] == (row.accepted if row.billed is None else row.billed)


def _names_the_task(error: Exception, ledger: dict) -> bool:
    """Return whether somebody on call learns which task may be billed."""
    made = next(create for create in ledger["creates"] if create["task_id"])
    return made["task_id"] in str(error) or made["external_task_id"] in str(error)


def _advance_beyond_the_end(emulator) -> None:
    emulator.wait_for_pictures()
    emulator.state.advance(3600)


def _is_stored(manifest: dict) -> bool:
    """Return whether every output lies where the manifest says, whole."""
    files = [(Path(output["uri"].removeprefix("file://")), output["sha256"]) for output in manifest["outputs"]]
    return bool(files) and all(hashlib.sha256(path.read_bytes()).hexdigest() == digest for path, digest in files)
