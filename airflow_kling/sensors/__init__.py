"""The Airflow sensors for Kling."""
