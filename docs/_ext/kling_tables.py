"""The directive ``kling-table``: tables made of the package's own at every build, so that none can go stale."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]


def _codes() -> str:
    from airflow_kling.api.codes import CODES, MESSAGES_OF_1201
    from airflow_kling.api.faults import Created

    rows = []
    for code in CODES.values():
        seeks = " A task may exist: it is looked for." if code.created is Created.MAY_EXIST else ""
        told = f"*{code.meaning}*: {code.hint}.{seeks}"
        rows.append([f"`{code.code}`", str(code.http_status), _class(code.kind), told])
        if code.code == 1201:
            for start, also, kind, hint in MESSAGES_OF_1201:
                told = f'*"{" … ".join(filter(None, (start, also)))}" in its message*: {hint}.'
                rows.append([f"`{code.code}`", str(code.http_status), _class(kind), told])
    return _markdown(["code", "HTTP", "error", "what it means, and what to do"], rows)


def _statuses() -> str:
    from airflow_kling.api.codes import STATUSES

    rows = [[str(status), _class(kind), f"{hint}."] for status, (kind, hint) in STATUSES.items()]
    return _markdown(["HTTP", "error", "what to do"], rows)


def _errors() -> str:
    from airflow_kling import exceptions

    rows = []
    for error in vars(exceptions).values():
        if isinstance(error, type) and issubclass(error, exceptions.KlingError) and error is not exceptions.KlingError:
            parent = f"`{error.__bases__[0].__name__}`"
            rows.append([f"`{error.__name__}`", parent, _of_class(error), (error.__doc__ or "").strip().split("\n")[0]])
    return _markdown(["error", "is a", "retried", "when"], rows)


def _families() -> str:
    from airflow_kling.api.families import FAMILIES
    from airflow_kling.operators import kling

    single = [name for name in kling.__all__ if "Batch" not in name]
    operators = {getattr(getattr(kling, name), "family", None): f"`{name}`" for name in single}
    rows = [
        [
            f"`{family.name}`",
            operators.get(family.name, "none"),
            family.kind.value,
            f"`{family.route}`",
            "`n`" if family.slots_per_output else "1",
            "yes" if family.lookup_by_external_id else "no",
        ]
        for family in FAMILIES.values()
    ]
    return _markdown(["family", "its operator", "makes", "route", "slots", "by our id"], rows)


def _gateways() -> str:
    from airflow_kling.api.gateways import GATEWAYS

    rows = [
        [
            f"`{row.name}`",
            f"`{row.base_url}{row.prefix}`",
            "API key, or AccessKey and SecretKey" if row.takes_key_pair else "API key",
            _word(row.lookup_by_external_id),
            _word(row.list_tasks),
            _word(row.packs_route is not None),
        ]
        for row in GATEWAYS.values()
    ]
    head = ["gateway", "address", "takes", "looks up by our id", "lists tasks", "tells resource packs"]
    return _markdown(head, rows)


def _options() -> str:
    from airflow_kling.get_provider_info import get_provider_info

    sections: Any = get_provider_info()["config"]
    return "\n".join(
        f"## `[{section}] {name}`\n\n{option['description']}\n\n"
        + _markdown(
            ["type", "default", "environment variable", "example"],
            [
                [
                    option["type"],
                    f"`{option['default']}`" if option["default"] else "empty",
                    f"`AIRFLOW__{section.upper()}__{name.upper()}`",
                    f"`{option['example']}`" if option["example"] else "none",
                ]
            ],
        )
        for section, fields in sections.items()
        for name, option in fields["options"].items()
    )


def _connection_fields() -> str:
    from airflow_kling.get_provider_info import CONNECTION_FIELDS

    rows = [[f"`{name}`", row["label"], row["description"]] for name, row in CONNECTION_FIELDS.items()]
    return _markdown(["extra", "in the form", "what it says"], rows)


def _clip_prices() -> str:
    from airflow_kling.api.families import get_family
    from airflow_kling.api.rules import EXTENSION_UNITS, IMAGE_TO_VIDEO, VIDEO_MODELS

    def told(units: Any) -> str:
        return ", ".join(f"{mode} {each:g}" for mode, each in units.items()) or "none"

    rows = [[f"`{name}`", told(model.units), told(model.units_sound)] for name, model in VIDEO_MODELS.items()]
    table = _markdown(["model", "units per second, silent", "with sound"], rows)
    extension = " or ".join(f"{units:g} (of a clip in mode {mode})" for mode, units in EXTENSION_UNITS.items())
    usd = get_family(IMAGE_TO_VIDEO).usd(1)
    return (
        f"{table}\nA video unit is ${usd:g} by the list; without `model_name` Kling takes `kling-v1`. An "
        f"extension takes {extension}; which, the operator cannot tell beforehand.\n"
    )


def _picture_prices() -> str:
    from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION
    from airflow_kling.api.rules import IMAGE_MODELS

    rows = [["image expansion", "none", f"{FAMILIES[IMAGE_EXPANSION].units_per_output:g}"]]
    for name, model in IMAGE_MODELS.items():
        if model.units:
            rows.append([f"image generation, `{name}`", f"{model.units[0]:g}", f"{model.units[1]:g}"])
    table = _markdown(["what", "units per picture, from text", "from a picture"], rows)
    usd = FAMILIES[IMAGE_EXPANSION].usd(1)
    return f"{table}\nAn image unit is ${usd:g} by the list. Other models have no list price in force.\n"


def _dags() -> str:
    rows = []
    for path in sorted((ROOT / "dags").glob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        rows.append([f"`dags/{path.name}`", first])
    return _markdown(["file", "what it does"], rows)


def _class(kind: Any) -> str:
    from airflow_kling.exceptions import CLASSES

    return f"`{CLASSES[kind].__name__}`"


def _of_class(error: type) -> str:
    from airflow_kling.exceptions import KlingPermanentError

    return "no" if issubclass(error, KlingPermanentError) else "yes"


def _word(yes: bool) -> str:
    return "yes" if yes else "no"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "clip-prices": _clip_prices,
    "codes": _codes,
    "connection-fields": _connection_fields,
    "dags": _dags,
    "errors": _errors,
    "families": _families,
    "gateways": _gateways,
    "options": _options,
    "picture-prices": _picture_prices,
    "statuses": _statuses,
}


class KlingTable(SphinxDirective):
    """Puts a table of :data:`TABLES` in its place."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        make = TABLES.get(self.arguments[0])
        if make is None:
            raise ExtensionError(f"no table {self.arguments[0]}: one of {', '.join(TABLES)}")
        return self.parse_text_to_nodes(make(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("kling-table", KlingTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
