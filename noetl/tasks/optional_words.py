"""A word that a verb takes or goes without: Invoke's own positional arguments are always wanted."""

from __future__ import annotations

from collections.abc import Sequence

FLAGS = {"k8s.rollback": "revision"}
"""The flag that a number right after the verb is the value of."""


def named(words: Sequence[str]) -> list[str]:
    """Write such a word as the flag that it is the value of: `k8s.rollback 3` as `k8s.rollback --revision=3`."""
    found = []
    before = ""
    for word in words:
        flag = FLAGS.get(before)
        found.append(f"--{flag}={word}" if flag and word.isdecimal() else word)
        before = word
    return found
