"""The Airflow triggers for Kling."""
