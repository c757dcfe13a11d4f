from airflow_kling.emulator.testing import kling_emulator  # a fixture


def test_a_picture_and_a_clip_are_made_and_paid_once(kling_emulator, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", kling_emulator.connection_uri())
    try:
        from airflow.dag_processing.dagbag import DagBag  # Airflow 3.2 and later
    except ImportError:
        from airflow.models.dagbag import DagBag

    run = DagBag("dags").get_dag("kling_first").test()

    assert run.state == "success"
    assert kling_emulator.state.ledger()["billed_tasks"] == 2
