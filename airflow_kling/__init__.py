"""Apache Airflow provider for Kling: the version, nothing else."""

__version__ = "1.0.0"
