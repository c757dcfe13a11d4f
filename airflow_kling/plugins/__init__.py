"""The pages that the provider adds to Airflow's UI, from Airflow 3.1 on."""
