"""The table of kinds."""

from noetl.playbook.actions import ACTIONS
from noetl.playbook.actions import supported as supported_actions
from noetl.playbook.kinds import COMMON, KINDS, supported


def test_all_kinds_of_the_language_stand_in_the_table() -> None:
    words = "shell http postgres duckdb python workbook playbook playbooks secrets iterator container script snowflake transfer"
    assert set(KINDS) == {*words.split(), "snowflake_transfer", "gcs"}


def test_supported_kinds_and_actions() -> None:
    assert supported() == ["python", "http", "postgres", "duckdb", "shell", "workbook"]
    assert supported_actions() == ["set", "result", "log", "call", "next", "fail"]


def test_actions_stand_in_the_order_in_which_they_are_carried_out() -> None:
    assert list(ACTIONS) == ["collect", "set", "result", "sink", "log", "retry", "call", "next", "fail"]


def test_required_fields_are_known() -> None:
    for name, kind in KINDS.items():
        known = {*kind.fields, *COMMON, *(("script",) if kind.script else ())}
        assert all(word in known for group in kind.required for word in group), name
        assert kind.code <= known, name
