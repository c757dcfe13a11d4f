"""Pictures: Pillow and arithmetic, no Airflow, no HTTP."""
