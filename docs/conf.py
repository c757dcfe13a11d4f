"""How Sphinx builds these pages; offline, and with nothing beside the ``docs`` extra."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
# autodoc imports Airflow, which would make itself a home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-kling-docs-"))

from airflow_kling import __version__  # noqa: E402

project = "airflow-provider-kling"
author = "The airflow-provider-kling authors"
copyright = f"{author}, Apache-2.0"  # noqa: A001
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "kling_tables"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_logo = html_favicon = "../airflow_kling/plugins/static/logo.svg"
html_title = f"airflow-provider-kling {version}"
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
    # So that lines of code fit.
    "light_css_variables": {"code-font-size": "var(--font-size--small--2)"},
}

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # beside each parameter that the docstring tells of, with its units and limits
autodoc_typehints_description_target = "documented"
