"""The Airflow operators for Kling."""
