"""AWS Secrets Manager."""

from __future__ import annotations

import base64
import datetime

import orjson

from noetl.tools.access import Access, answer_to
from noetl.tools.base import Json, ToolError
from noetl.tools.request import Request
from noetl.tools.sigv4 import keys_of, region_of, signed


def read(name: str, access: Access) -> Json:
    """Return the value of a secret by its name or ARN; `version` is a version's id, or a stage such as AWSPREVIOUS."""
    region = region_of(access) or (name.split(":")[3] if name.startswith("arn:") and name.count(":") > 3 else "")
    access.needed("the region of AWS", region, "region", "AWS_REGION in the worker's environment")
    keys = keys_of(access)
    if keys is None:
        raise ToolError("there are no keys for AWS: give auth, a credential with access_key_id and secret_access_key", type="config")
    variables = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL")
    url = access.find("endpoint", "endpoint_url", variables=variables) or f"https://secretsmanager.{region}.amazonaws.com"
    wanted = {"SecretId": name}
    if version := access.find("version"):
        wanted["VersionStage" if version.startswith("AWS") else "VersionId"] = version
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
    request = Request("POST", f"{url.rstrip('/')}/", headers, body=orjson.dumps(wanted))
    answer = answer_to(signed(request, keys, region=region, service="secretsmanager", now=datetime.datetime.now(datetime.UTC)))
    if answer.get("SecretString") is not None:
        return answer["SecretString"]
    return base64.b64decode(str(answer.get("SecretBinary") or "")).decode("utf-8", "replace")
