"""Every broken playbook in tests/cases/broken has exactly the mistakes that its comments `#! COLUMN: MESSAGE [-> HINT]` name."""

import re
from pathlib import Path

import pytest

from noetl.errors import PlaybookError
from noetl.playbook.parse import parse

CASES = sorted((Path(__file__).parents[2] / "cases" / "broken").glob("*.yaml"))
MARK = re.compile(r"#! (\d+): (.*?)(?: -> (.*?))?(?= #! |$)")


def expected(text: str) -> list[tuple[int, int, str, str]]:
    return sorted(
        (number, int(mark[1]), mark[2].strip(), mark[3] or "")
        for number, line in enumerate(text.split("\n"), start=1)
        for mark in MARK.finditer(line)
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_broken_playbook_has_the_mistakes_that_its_comments_name(path: Path) -> None:
    text = path.read_text()
    with pytest.raises(PlaybookError) as raised:
        parse(text, path.name)
    found = sorted(
        (problem["line"], problem["column"], problem["message"], problem["hint"]) for problem in raised.value.details["problems"]
    )
    wanted = expected(text)
    assert [place[:2] for place in found] == [place[:2] for place in wanted], [place[:3] for place in found]
    for (_, _, message, hint), (line, _, wanted_message, wanted_hint) in zip(found, wanted, strict=True):
        assert message.startswith(wanted_message), f"line {line}"
        assert not wanted_hint or hint == wanted_hint, f"line {line}"


def test_there_are_broken_playbooks() -> None:
    assert len(CASES) >= 8
