"""What the kill suite stands on: a database, Airflow's processes, and the rows."""
