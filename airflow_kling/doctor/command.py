"""The ``airflow-kling doctor`` command: what is wrong with connections and the deployment; sends nothing but GET."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of, redact
from airflow_kling.doctor.findings import Finding, State, as_json, as_text, exit_code

DEFAULT_CONNECTION = "kling_default"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Look at connections and at this Airflow deployment, and say what is wrong and what to do. Only asks: nothing "
        "is created and nothing is paid. Exit code: 0 where no check failed (warnings and what is not known do not "
        "count), 1 where one did, 2 for wrong arguments."
    )
    parser.add_argument(
        "--conn-id",
        metavar="ID",
        action="append",
        help=f"connection to look at; may be given several times (default: {DEFAULT_CONNECTION})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument(
        "--fix-pools",
        action="store_true",
        help="make the pools kling_images and kling_clips, or have them count deferred tasks",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; returns the exit code."""
    conn_ids = list(dict.fromkeys(arguments.conn_id or [DEFAULT_CONNECTION]))
    with _quiet():
        found = list(_findings(conn_ids, fix_pools=arguments.fix_pools))
    sys.stdout.write(f"{as_json(found) if arguments.json else as_text(found)}\n")
    return exit_code(found)


def _findings(conn_ids: list[str], *, fix_pools: bool) -> Iterator[Finding]:
    from airflow_kling.doctor import deployment
    from airflow_kling.doctor.account import concurrency_of

    packs: list[Any] = []
    for conn_id in conn_ids:
        yield from _of_connection(conn_id, packs)
    yield from deployment.findings(concurrency_of(packs), fix_pools=fix_pools)


def _of_connection(conn_id: str, packs: list[Any]) -> Iterator[Finding]:
    from airflow.providers.common.compat.sdk import AirflowException

    from airflow_kling.doctor.account import Examination
    from airflow_kling.hooks.kling import KlingHook

    hook = KlingHook(conn_id)
    try:
        client = hook.client
    except InputFault as fault:
        text, advice = str(fault), "correct the connection"
    except AirflowException as error:
        by_hand = f"airflow connections add {conn_id} --conn-type kling --conn-password KEY"
        text, advice = redact(str(error)), f"{by_hand}, or set AIRFLOW_CONN_{conn_id.upper()}"
    except Exception as error:  # what cannot be decrypted or decoded
        text, advice = f"cannot be read: {reason_of(error)}", "write it anew"
    else:
        yield Finding(conn_id, "connection", State.OK, f"of type kling, gateway {client.account.gateway}")
        examination = Examination(conn_id, client.account, client.send, time.time)
        yield from examination.findings()
        packs += examination.packs
        return
    yield Finding(conn_id, "connection", State.FAIL, text, advice)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Airflow read connections as its own commands do, and keep its log from between the lines."""
    before = os.environ.get("_AIRFLOW_PROCESS_CONTEXT")
    # What `airflow connections test` says too: the metadata database counts among the secrets backends.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    disabled = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import airflow  # noqa: F401 - sets up its own logging, which is disabled after it

            logging.disable(logging.CRITICAL)
            warnings.simplefilter("ignore")  # Airflow's import has put filters of its own before ours
            yield
    finally:
        logging.disable(disabled)
        if before is None:
            del os.environ["_AIRFLOW_PROCESS_CONTEXT"]
        else:
            os.environ["_AIRFLOW_PROCESS_CONTEXT"] = before
