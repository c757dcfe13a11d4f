"""What Airflow reads of this provider at start-up; imports nothing, for Airflow's configuration is not read yet."""

from __future__ import annotations

#: The connection form's own fields. Airflow from 3.2 on reads them here, earlier ones through the hook.
CONNECTION_FIELDS = {
    "gateway": {
        "label": "Gateway",
        "description": "cometapi, kling or kling-cn; empty: kling where a login is given, else cometapi",
        "schema": {"type": ["string", "null"], "enum": ["cometapi", "kling", "kling-cn", None]},
    },
    "prefix": {
        "label": "Path prefix",
        "description": "Path before the routes; empty: the gateway's own, e.g. /kling/v1",
        "schema": {"type": ["string", "null"]},
    },
    "down_ratio_field": {
        "label": "Field of the lower ratio",
        "description": "Empty: down_expansion_ratio; some gateways may want bottom_expansion_ratio",
        "schema": {"type": ["string", "null"]},
    },
    "lookup_by_external_id": {
        "label": "Look-up by external id works",
        "description": "auto (the gateway's known behaviour), yes or no",
        "schema": {"type": ["string", "null"], "enum": ["auto", "yes", "no", None]},
    },
    "list_tasks": {
        "label": "List of tasks works",
        "description": "auto (the gateway's known behaviour), yes or no",
        "schema": {"type": ["string", "null"], "enum": ["auto", "yes", "no", None]},
    },
    "allow_private_hosts": {
        "label": "Download from private hosts",
        "description": "Whether results may be downloaded from private or loopback addresses",
        "schema": {"type": "boolean", "default": False},
    },
}

UI_FIELD_BEHAVIOUR = {
    # Not the port: hidden, it breaks the form's test button.
    "hidden-fields": [],
    "relabeling": {
        "login": "AccessKey (Kling only)",
        "password": "API key, or SecretKey beside an AccessKey",
        "host": "Base URL (empty: the gateway's own)",
    },
    "placeholders": {
        "host": "https://api.cometapi.com",
        "login": "empty with an API key",
        "extra": '{"verify": "/path/of/ca.pem", "proxies": {"https": "http://proxy:3128"}}',
    },
}


#: What all our options of ``airflow.cfg`` share.
_TEXT = {"version_added": None, "type": "string", "default": ""}


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-kling",
        "name": "Kling",
        "description": "Expand pictures into stored, video-ready assets with Kling, by CometAPI or Kling's own API",
        "integrations": [
            {
                "integration-name": "Kling",
                "external-doc-url": "https://kling.ai/document-api",
                "logo": "/kling/static/logo.svg",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "Kling", "python-modules": ["airflow_kling.hooks.kling"]}],
        "operators": [{"integration-name": "Kling", "python-modules": ["airflow_kling.operators.kling"]}],
        "sensors": [{"integration-name": "Kling", "python-modules": ["airflow_kling.sensors.kling"]}],
        "triggers": [
            {
                "integration-name": "Kling",
                "python-modules": ["airflow_kling.triggers.kling", "airflow_kling.triggers.batch"],
            }
        ],
        # No "plugins": the entry point airflow.plugins makes an instance of ours, this would take the class as it is.
        "extra-links": [
            "airflow_kling.operators.links.KlingTaskLink",
            "airflow_kling.operators.links.KlingFilesLink",
            "airflow_kling.operators.links.KlingRunLink",
        ],
        "config": {
            "kling": {
                "description": "Settings of the Kling provider.",
                "options": {
                    "deployment": {
                        "description": "Distinguishes this deployment from others that share a Kling account: part of "
                        "the external id of every task. The same on all workers. Without it the base URL is used.",
                        "example": "production",
                        **_TEXT,
                    },
                    "record_path": {
                        "description": "Folder or prefix for the records of submitted tasks, which keep a retry from "
                        "paying twice. Without it Airflow's task state store is used (3.3 and later), else the folder "
                        "of the results. The DAGs kling_report and kling_recover read it.",
                        "example": "s3://conn@bucket/kling-records",
                        **_TEXT,
                    },
                    "media_roots": {
                        "description": "Folders and storage prefixes, separated by commas, whose pictures and clips "
                        "the run page in Airflow's UI (3.1 and later) may show: the results that a task's manifest "
                        "names, and the source picture. Spelled as in the tasks' output_path, connection included. "
                        "Whoever may read a DAG sees the files that its results name, and whoever may write "
                        "results or XComs of any DAG decides which these are: a root is shared among all of them, "
                        "unless it contains {dag_id}, which stands for the DAG whose run is shown. Keep other files "
                        "out. Without this option no stored file is shown.",
                        "example": "/data/kling, s3://conn@bucket/kling",
                        **_TEXT,
                    },
                    "callback_secret": {
                        "description": 'Makes the addresses that callback_url="auto" gives to Kling unguessable: at '
                        "least 32 random characters, the same on all workers and API servers. Without it there are no "
                        "callbacks.",
                        "sensitive": True,
                        "example": None,
                        **_TEXT,
                    },
                    "callback_base_url": {
                        "description": "The URL at which Kling reaches the API server, with its path if it has one. "
                        "Without it [api] base_url is used.",
                        "example": "https://airflow.example.com",
                        **_TEXT,
                    },
                    "callback_signing_secret": {
                        "description": "The Webhook Secret from Kling's console. With it a callback must also be "
                        "signed, and the API servers need the extra callback (standardwebhooks).",
                        "sensitive": True,
                        "example": "whsec_...",
                        **_TEXT,
                    },
                },
            },
        },
        "connection-types": [
            {
                "connection-type": "kling",
                "hook-class-name": "airflow_kling.hooks.kling.KlingHook",
                "hook-name": "Kling",
                "conn-fields": CONNECTION_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
