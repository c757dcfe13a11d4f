"""Which Airflow this is: what differs between its versions asks here."""

import airflow

AIRFLOW: tuple[int, int] = tuple(map(int, airflow.__version__.split(".")[:2]))  # type: ignore[assignment]
