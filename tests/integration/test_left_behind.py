"""The search over what runs leave behind finds a link that was asked for, where it was asked for, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from leak_search import search

DAGS = Path(__file__).parent / "dags"


def test_a_link_that_is_asked_for_is_found_and_stands_in_xcom_alone(
    kling_emulator, run_dag, photograph, tmp_path, left_behind
):
    left_behind.remove(tmp_path)  # here there is one
    home = tmp_path / "home"
    home.mkdir()
    run = run_dag(
        "kling_shown_urls",
        "expand",
        {"image": str(photograph), "output_path": str(tmp_path / "out")},
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
        AIRFLOW_CONN_KLING_DEFAULT=kling_emulator.connection_uri("kling"),
        KLING_TEST_PICTURES="a.png:b.png",  # for the other DAGs of the folder
    )
    assert run.code == 0, run.log[-4000:]
    assert "Signature=" in run.result["outputs"][0]["url"]
    found = search([home, tmp_path / "out"])
    assert {leak.what for leak in found} == {"a signed link"}
    # Airflow itself logs what a task returns.
    places = {leak.place.partition(": ")[2] or leak.place for leak in found}
    assert {place for place in places if not place.startswith("home/logs/")} == {"xcom.value"}
