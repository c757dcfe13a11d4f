"""The operators for DAG authors, each in a module of its own."""

from airflow_kling.operators.collect import KlingCollectOperator
from airflow_kling.operators.expand import KlingExpandImageOperator

__all__ = ["KlingCollectOperator", "KlingExpandImageOperator"]
