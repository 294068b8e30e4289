"""A secret of the environment: what is not there is said, with what to do."""

from dataclasses import replace

import pytest

from noetl.tools.access import access_of
from noetl.tools.base import ToolError
from noetl.tools.providers import env


@pytest.mark.parametrize(
    ("name", "what"),
    [("CITY", "the worker needs NOETL_PLAYBOOK_ENV=CITY, or a NOETL_VAR_ name"), ("NOETL_VAR_CITY", "set it where the worker is started")],
)
def test_a_variable_that_is_not_there(name: str, what: str) -> None:
    access = replace(access_of({}, lambda name: {}, set()), environ={"NOETL_VAR_OTHER": "1"})
    with pytest.raises(ToolError, match=what):
        env.read(name, access)
    assert env.read("NOETL_VAR_OTHER", access) == "1"
