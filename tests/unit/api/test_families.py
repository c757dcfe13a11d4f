"""A family is found by its name, and by no other."""

from __future__ import annotations

import re

import pytest

from airflow_kling.api.families import FAMILIES, get_family
from airflow_kling.api.inputs import InputFault


@pytest.mark.parametrize("name", FAMILIES)
def test_family_is_found_by_its_kebab_case_name(name):
    assert get_family(name).name == name
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)


@pytest.mark.parametrize("name", ["image_expansion", "Image-Expansion", "text-to-speech", "", None, 5, ["avatar"], {}])
def test_unknown_family_is_refused_with_the_names(name):
    with pytest.raises(InputFault, match="image-expansion, image-generation") as caught:
        get_family(name)

    assert caught.value.field == "family"


def test_no_two_families_share_a_route():
    assert len({family.route for family in FAMILIES.values()}) == len(FAMILIES)
