"""The operators for DAG authors, each in a module of its own."""

from airflow_kling.operators.batch import KlingExpandBatchOperator, KlingImageToVideoBatchOperator
from airflow_kling.operators.collect import KlingCollectOperator
from airflow_kling.operators.expand import KlingExpandImageOperator
from airflow_kling.operators.image import KlingGenerateImageOperator
from airflow_kling.operators.task import KlingTaskOperator
from airflow_kling.operators.video import KlingExtendVideoOperator, KlingImageToVideoOperator, KlingTextToVideoOperator

__all__ = [
    "KlingCollectOperator",
    "KlingExpandBatchOperator",
    "KlingExpandImageOperator",
    "KlingExtendVideoOperator",
    "KlingGenerateImageOperator",
    "KlingImageToVideoBatchOperator",
    "KlingImageToVideoOperator",
    "KlingTaskOperator",
    "KlingTextToVideoOperator",
]
