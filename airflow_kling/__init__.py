"""Apache Airflow provider for Kling: the version, nothing else."""

__version__ = "0.1.0"
