"""The keychain: definitions of secrets and tokens by name."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.playbook.check import Check
from noetl.playbook.document import Node
from noetl.playbook.doubts import later_entries
from noetl.playbook.fields import check_provider, find_kind, read_fields, require
from noetl.playbook.kinds import AUTH, REQUEST, SECRET, Kind, supported
from noetl.playbook.mistakes import quote
from noetl.playbook.model import KeychainEntry
from noetl.playbook.shapes import ANY, DURATION, FLAG, MAPPING, TEXT, Shape

SCOPES = ("local", "global", "shared", "catalog")
SHARED: Mapping[str, Shape] = {"scope": TEXT, "auto_renew": FLAG, "desc": ANY}
"""Fields that every entry takes, beside `name` and `kind`."""

_STORED: Mapping[str, Shape] = {"credential": TEXT, "ref": TEXT}
_stored = Kind(_STORED, required=(tuple(_STORED),))
_google = Kind({**_STORED, "auth": TEXT}, required=((*_STORED, "auth"),))

ENTRIES: Mapping[str, Kind] = {
    "static": Kind({"map": MAPPING}, required=(("map",),)),
    "bearer": Kind({"token": TEXT, **AUTH, "ref": TEXT}, required=(("token", *AUTH, "ref"),)),
    "oauth2": Kind(
        {**REQUEST, "data": ANY, "json": ANY, "timeout": DURATION, "renew_config": MAPPING},
        required=(("endpoint", "url"),),
    ),
    "credential": _stored,
    "credential_ref": _stored,
    "secret_manager": Kind({**SECRET, "map": MAPPING}, required=(("provider",), ("map",))),
    **dict.fromkeys(("google_oauth", "google_service_account", "google_id_token"), _google),
}
"""The kinds of entries."""

OWN_WORDS = ("name", "kind")


def read_keychain(check: Check, node: Node | None) -> tuple[KeychainEntry, ...]:
    """Return the entries in the order of the document; of two with one name the first counts."""
    entries: dict[str, KeychainEntry] = {}
    if node is None or not node.value:
        return ()
    if node.items is None:
        check.mistakes.add(node.position, "`keychain` has to be a list", "write keychain: [{name: NAME, kind: static, map: {…}}]")
    for item in node.items or ():
        entry = _entry(check, item)
        if entry is not None and entry.name in entries:
            check.mistakes.warn(item.position, f"the keychain has {quote(entry.name)} already; the first one counts")
        elif entry is not None:
            entries[entry.name] = entry
    later_entries(check, node)
    return tuple(entries.values())


def _entry(check: Check, node: Node) -> KeychainEntry | None:
    fields = check.mapping(node, "an entry of the keychain")
    if node.fields is None:
        return None
    name_node, kind_node = check.field(fields, "name"), check.field(fields, "kind")
    name = check.name(name_node, "the `name` of a keychain entry") if name_node is not None else ""
    if name_node is None:
        check.mistakes.add(node.position, "an entry of the keychain needs a `name`")
    if kind_node is None:
        hint = f"kinds of this version: {', '.join(supported(ENTRIES))}"
        check.mistakes.add(node.position, "an entry of the keychain needs a `kind`", hint)
        return None
    kind_name = check.text(kind_node, "the `kind` of a keychain entry")
    known = "google_oauth" if kind_name.startswith("google_") else kind_name
    kind = find_kind(check, kind_node.position, known, ENTRIES, " of a keychain entry") if kind_name else None
    if kind is None:
        return None
    what = f"a keychain entry of kind `{kind_name}`"
    config = read_fields(check, fields, kind, kind_name, what, OWN_WORDS, SHARED)
    require(check, node.position, fields, kind, what)
    if (provider := check.field(fields, "provider")) is not None:
        check_provider(check, provider)
    scope = check.field(fields, "scope")
    if scope is not None and isinstance(scope.value, str) and scope.value not in SCOPES:
        check.mistakes.add(scope.position, f"unknown `scope` {quote(scope.value)} of a keychain entry", check.nearest(scope.value, SCOPES))
    return KeychainEntry(name, kind_name, config) if name else None
