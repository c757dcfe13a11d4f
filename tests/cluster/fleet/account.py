"""The account of a run: which picture was paid how often, and whether what was made of it is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.rules import IMAGE_TO_VIDEO

from .fleet import DAG_ID

if TYPE_CHECKING:
    from .fleet import Fleet

SIDE = 306
ASPECT = 16 / 9
#: Each picture takes both.
STAGES = {IMAGE_EXPANSION: ("expand", "expand_batch"), IMAGE_TO_VIDEO: ("film", "film_batch")}
#: Half of what two pictures' colours differ by at least.
TOLERANCE = 12


def draw_pictures(folder: Path, **numbers: int) -> None:
    """
    Draw pictures, each of a colour of its own.

    :param folder: Gets a folder for each name.
    :param numbers: How many pictures, by the folder's name.
    """
    count = 0
    for name, number in numbers.items():
        (folder / name).mkdir()
        for index in range(number):
            Image.new("RGB", (SIDE, SIDE), _colour(count)).save(folder / name / f"{index:03}.png")
            count += 1


class Account:
    """
    What became of the pictures, by the emulator's ledger and by what is stored.

    :param fleet: The cluster, whose run is over.
    :param run_id: The run.
    :param mapped: How many pictures had tasks of their own; those of the batches are counted after them.
    :param batched: How many pictures were in the batches.
    """

    def __init__(self, fleet: Fleet, run_id: str, mapped: int, batched: int) -> None:
        self._path = f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        self._fleet = fleet
        self._ledger = fleet.kling.ledger()
        self._accepted = {row["task_id"]: row["family"] for row in self._ledger["creates"] if row["task_id"]}
        self._of_task: dict[str, int] = {}
        self.pictures = mapped + batched
        self.complaints: list[str] = []
        paid, whole = [set(range(self.pictures))], [set(range(self.pictures))]
        for family, (single, batch) in STAGES.items():
            made = {index: self._returned(single, index) for index in range(mapped)}
            made |= {mapped + index: row for index, row in enumerate(self._results(batch))}
            paid.append({number for number, row in made.items() if self._is_paid(number, family, row)})
            whole.append({number for number, row in made.items() if self._is_whole(number, family, row)})
        self.billed = len(set.intersection(*paid))
        self.lost = self.pictures - len(set.intersection(*whole))
        self.duplicates = max(len(self._accepted) - len(STAGES) * self.pictures, 0)
        if self._ledger["billed_tasks"] != len(STAGES) * self.pictures:
            self.complaints.append(f"{self._ledger['billed_tasks']} tasks are billed")

    @property
    def line(self) -> str:
        """The suite's closing line."""
        return f"pictures {self.pictures}, billed {self.billed}, lost {self.lost}, duplicates {self.duplicates}"

    def _returned(self, task_id: str, index: int = -1) -> Mapping[str, Any]:
        path = f"{self._path}/{task_id}/xcomEntries/return_value?stringify=false&map_index={index}"
        try:
            return self._fleet.site.get(path)["value"] or {}
        except Exception as error:
            self.complaints.append(f"{task_id} {index} returned nothing: {error}")
            return {}

    def _results(self, task_id: str) -> list[Mapping[str, Any]]:
        results = self._returned(task_id).get("results")
        return [json.loads(line) for line in _local(results).read_text().splitlines()] if results else []

    def _is_paid(self, number: int, family: str, row: Mapping[str, Any]) -> bool:
        """Whether the ledger has the task, and no other picture has it."""
        task_id = str(row.get("task_id"))
        is_its_own = self._of_task.setdefault(task_id, number) == number
        return is_its_own and self._accepted.get(task_id) == family

    def _is_whole(self, number: int, family: str, row: Mapping[str, Any]) -> bool:
        """Whether its file is stored as the manifest says; a picture shows by its colour whose it is."""
        outputs = row.get("outputs") or []
        if len(outputs) != 1:
            return False
        path = _local(outputs[0]["uri"])
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != outputs[0]["sha256"]:
            return False
        return family != IMAGE_EXPANSION or _is_of(number, path)


def _local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def _is_of(number: int, path: Path) -> bool:
    with Image.open(path) as picture:
        width, height = picture.size
        middle = picture.convert("RGB").getpixel((width // 2, height // 2))
    near = all(abs(one - other) < TOLERANCE for one, other in zip(middle, _colour(number), strict=True))
    return near and abs(width / height - ASPECT) < 0.01


def _colour(number: int) -> tuple[int, int, int]:
    return 20 + 40 * (number % 6), 20 + 40 * (number // 6 % 6), 10 + 25 * (number // 36)
