"""Google Cloud's Secret Manager."""

from __future__ import annotations

import base64
from urllib.parse import quote

from noetl.tools import google
from noetl.tools.access import Access, answer_to
from noetl.tools.base import Json
from noetl.tools.request import Request

_ENDPOINT = "https://secretmanager.googleapis.com"


def read(name: str, access: Access) -> Json:
    """Return a version (the latest) of a secret: a name in the credential's project, or `projects/P/secrets/S`, also with `/versions/V`."""
    path = name.strip("/")
    if not path.startswith("projects/"):
        project = access.find("project", "project_id", variables=("GOOGLE_CLOUD_PROJECT",))
        project = project or str(google.service_account(access).get("project_id") or "")
        path = f"projects/{access.needed('the project of the secret', project, 'project', 'projects/PROJECT/secrets/NAME')}/secrets/{path}"
    if "/versions/" not in path:
        path = f"{path}/versions/{access.find('version') or 'latest'}"
    endpoint = (access.find("endpoint") or _ENDPOINT).rstrip("/")
    answer = answer_to(Request("GET", f"{endpoint}/v1/{quote(path)}:access", google.authorization(access)))
    payload = answer.get("payload")
    data = payload.get("data") if isinstance(payload, dict) else ""
    return base64.b64decode(str(data or "")).decode("utf-8", "replace")
