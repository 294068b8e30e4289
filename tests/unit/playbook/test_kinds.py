"""The tables of kinds."""

import pytest

from noetl.playbook.actions import ACTIONS
from noetl.playbook.keychain import ENTRIES
from noetl.playbook.kinds import COMMON, KINDS, Kind, supported
from noetl.playbook.sinks import SINKS
from noetl.playbook.transfer import SOURCES, TARGETS


def test_all_kinds_of_the_language_stand_in_the_table() -> None:
    words = "shell http postgres duckdb python workbook playbook playbooks secrets iterator container script snowflake transfer"
    assert set(KINDS) == {*words.split(), "snowflake_transfer", "gcs"}


def test_supported_kinds() -> None:
    google = ["google_oauth", "google_service_account", "google_id_token"]
    known = "python http postgres duckdb shell workbook playbook playbooks secrets container script transfer gcs"
    assert supported() == known.split()
    assert supported(SINKS) == ["event", "event_log", "postgres", "duckdb", "python", "http", "gcs"]
    assert supported(ENTRIES) == ["static", "bearer", "oauth2", "credential", "credential_ref", "secret_manager", *google]
    assert (supported(SOURCES), supported(TARGETS)) == (["http", "postgres", "duckdb"], ["postgres"])


def test_actions_stand_in_the_order_in_which_they_are_carried_out() -> None:
    assert list(ACTIONS) == ["collect", "set", "result", "sink", "log", "retry", "call", "next", "fail"]


@pytest.mark.parametrize("kinds", [KINDS, SINKS, ENTRIES, SOURCES, TARGETS], ids=["tools", "sinks", "keychain", "sources", "targets"])
def test_required_fields_are_known(kinds: dict[str, Kind]) -> None:
    for name, kind in kinds.items():
        known = {*kind.fields, *COMMON, *(("script",) if kind.script else ())}
        assert all(word in known for group in kind.required for word in group), name
        assert kind.code <= known, name
