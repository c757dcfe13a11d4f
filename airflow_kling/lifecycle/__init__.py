"""Submit, wait, collect: what to do next with a task, without Airflow."""
