from __future__ import annotations

import pytest

from noetl.playbook import kinds
from noetl.tools import registry
from noetl.tools.base import ToolError


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_loaded_and_a_playbook_may_name_it(kind: str) -> None:
    ready, run = registry.load(kind)
    assert callable(run)
    assert ready is None or callable(ready)
    assert kind in kinds.KINDS


def test_every_kind_that_a_playbook_may_use_can_be_run() -> None:
    assert set(kinds.supported()) - {"workbook", "playbook", "playbooks"} <= set(registry.KINDS)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ToolError, match="fax"):
        registry.find("fax")
