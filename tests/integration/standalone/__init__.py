"""All of Airflow in one command, for suites and benchmarks."""
