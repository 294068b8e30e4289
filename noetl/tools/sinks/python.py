"""The `python` sink: code that is given the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from noetl.playbook.python_code import main_parameters
from noetl.tools import python
from noetl.tools.base import Call, Json


def run(call: Call) -> Json:
    """Run the code with `data`, and with what the playbook says is to be written by name as well."""
    return python.run(replace(call, config={**call.config, "data": call.data}, args=_args(call)))


def _args(call: Call) -> dict[str, Json]:
    if call.has_data and isinstance(call.data, Mapping):
        return dict(call.data)
    parameters = main_parameters(call.config["code"])
    if parameters is None:
        return {}
    if parameters.keywords and isinstance(call.data, Mapping):
        return {"data": call.data, **call.data}
    wanted = [name for name in parameters.required if name != "context"]
    # A lone parameter of whatever name means the data, unless a step or a variable has that name.
    return {wanted[0]: call.data} if len(wanted) == 1 and wanted[0] not in call.scope else {}
