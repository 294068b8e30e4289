"""The code that a tool holds: what is in base64 has to be that, and what is Python has to compile."""

from __future__ import annotations

import base64
import binascii
import difflib
import keyword
import re
from collections.abc import Mapping

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.expression import is_template
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Position
from noetl.playbook.python_code import FILENAME, unwarned

ENCODED: Mapping[str, str] = {
    **dict.fromkeys(("code_b64", "code_base64"), "code"),
    **dict.fromkeys(("command_b64", "commands_b64", "query_b64"), "query"),
}
"""The fields in base64, each with the one that takes the text itself."""

MOST_CODE = 256 * 1024
"""Characters. Whoever compiles does nothing else meanwhile, so more than this is left to the step itself."""
_WORD = re.compile(r"[^\W\d]\w*")


def check_code(check: Check, fields: Mapping[str, Field], name: str, place: str, *, only_warn: bool = False) -> None:
    """Refuse code that cannot run however its step is reached; what has templates is known only once they are rendered.

    With `only_warn` what is no Python is a warning: playbooks of the original have such sinks.
    """
    for word, plain in ENCODED.items():
        node = check.field(fields, word)
        if node is None or not isinstance(node.value, str) or is_template(node.value):
            continue
        text = _decoded(node.value)
        if text is None:
            hint = f"encode it with: base64 -w0 FILE; or write the text itself into `{plain}`"
            check.mistakes.add(node.position, f"`{word}` of {place} is no base64 of UTF-8 text", hint)
        elif name == "python":
            _check_python(check, node, text, place, only_warn)
    for node in (check.field(fields, "code"), _inline(check, fields)):
        if name == "python" and node is not None and isinstance(node.value, str):
            _check_python(check, node, node.value, place, only_warn)


def _inline(check: Check, fields: Mapping[str, Field]) -> Node | None:
    """Return the code of a `script` whose source is the playbook itself."""
    script = check.field(fields, "script")
    source = check.field(script.fields, "source") if script is not None and script.fields else None
    kind = check.field(source.fields, "type") if source is not None and source.fields else None
    if source is None or not source.fields or kind is None or kind.value != "inline":
        return None
    return check.field(source.fields, "code")


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _check_python(check: Check, node: Node, code: str, place: str, only_warn: bool) -> None:
    if is_template(code) or len(code) > MOST_CODE:
        return
    unwarned()
    try:
        compile(code, FILENAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        lines = code.split("\n")
        number = min(max(error.lineno or 1, 1), len(lines))
        line = lines[number - 1]
        at = min(max(error.offset or 1, 1), len(line) + 1)
        message = f"the code of {place} is no Python, in its line {number}: {error.msg}"
        position, hint = _position(check, node, lines, number, at), _hint(line, at)
        if only_warn:
            check.mistakes.warn(position, f"{message}: {hint}")
        else:
            check.mistakes.add(position, message, hint)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return


def _position(check: Check, node: Node, lines: list[str], number: int, at: int) -> Position:
    """Return the place in the playbook of a column of a line of the code; the code's own where its text is written otherwise there."""
    written = check.mistakes.lines
    if node.block:
        line = node.position.line + number
        if line <= len(written) and written[line - 1].endswith(lines[number - 1]):
            return Position(line, len(written[line - 1]) - len(lines[number - 1]) + at)
    elif len(lines) == 1:
        rest = written[node.position.line - 1][node.position.column - 1 :]
        for before in ("", "'", '"'):
            if rest.startswith(before + lines[0]):
                return Position(node.position.line, node.position.column + len(before) + at - 1)
    return node.position


def _hint(line: str, at: int) -> str:
    """Return the keyword that is nearest to the word at a column or before it, or else what usually mends such a line."""
    found = [match[0] for match in _WORD.finditer(line) if match.start() < at]
    for word in reversed(found[-2:]):
        match = difflib.get_close_matches(word, keyword.kwlist, n=1, cutoff=0.75)
        if match and word not in keyword.kwlist:
            return f"did you mean {quote(match[0])}?"
    return "check that brackets and quotes are closed, and the indentation"
