"""The Airflow hook for Kling."""
