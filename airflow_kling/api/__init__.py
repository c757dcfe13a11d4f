"""The contract with Kling: pure Python, no Airflow, no I/O."""
