"""Values in shell commands: quoted for the place where they stand."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noetl.playbook.expression import TemplateError, Templates

TEMPLATES = Templates(())
NASTY = "a b'c\"d`e$(f)\\g;h|i&j\n#k*?~!"


def render(template: str, **names: Any) -> str:
    return TEMPLATES.render_shell(template, names)


def run(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=10).stdout


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("echo {{ x }}", "echo 'a b'"),
        ("echo {{ x | upper }}", "echo 'A B'"),
        ("echo {{ x | raw }}", "echo a b"),
        ("echo {{ (x ~ '!') | raw }}", "echo a b!"),
        ("echo {{ xs }}", "echo 1 'a b' ''"),
        ("echo {{ n }} {{ flag }} {{ none }}.{{ absent.deep }}.", "echo 5 true .."),
        ("echo {{ m }}", "echo '{\"k\": [1]}'"),
        ("echo {{ empty }}", "echo ''"),
        ("echo {{ [] }}", "echo "),
        ('echo "{{ x }} $HOME"', 'echo "a b $HOME"'),
        ("echo '{{ q }}'", "echo 'it'\\''s'"),
        ("{% for i in xs %}echo {{ i }};{% endfor %}", "echo 1;echo 'a b';echo '';"),
        ("{% if flag %}echo {{ x }}{% endif %}", "echo 'a b'"),
        ("{% set y = x ~ 'c' %}echo {{ y }}", "echo 'a bc'"),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}echo {{ m(x) }}", "echo '<a b>'"),
        ("echo plain", "echo plain"),
        ("{{ x }}", "'a b'"),
    ],
)
def test_quoting(template: str, command: str) -> None:
    names = {"x": "a b", "xs": [1, "a b", ""], "n": 5, "flag": True, "none": None, "m": {"k": [1]}, "empty": "", "q": "it's"}
    assert render(template, **names) == command


@pytest.mark.parametrize(
    "template",
    [
        "printf %s {{ x }}",
        'printf %s "{{ x }}"',
        "printf %s '{{ x }}'",
        "printf %s \"$(printf %s {{ x }})\"",
        "printf %s \"$(printf %s \"{{ x }}\")\"",
        "printf %s ''\"\"{{ x }}\"\"''",
        "# don't\nprintf %s {{ x }}",
        "true # it's \" `\nprintf %s {{ x }}",
        "cat <<EOF >/dev/null\nit's\nEOF\nprintf %s {{ x }}",
        "cat <<-'EO' >/dev/null\n\tit's\n\tEO\nprintf %s {{ x }}",
        "true \\'; printf %s {{ x }}",
        "true \"\\\"\" '\\'; printf %s {{ x }}",
        "(true; (true)); printf %s {{ x }}",
        "true a#b'c'; printf %s {{ x }}",
        "true `echo \"'\"`; printf %s {{ x }}",
        "true ${HOME#/x}; printf %s {{ x }}",
    ],
)  # fmt: skip
def test_a_shell_reads_the_value_as_it_was(template: str) -> None:
    assert run(render(template, x=NASTY)).rstrip("\n") == NASTY


def test_a_comment_stays_a_comment() -> None:
    assert run(render("echo ok # {{ x }}", x="a\necho bad")) == "ok\n"


@pytest.mark.parametrize(
    "template",
    [
        "cat <<EOF\n{{ x }}\nEOF",
        "cat <<'EOF'\n{{ x }}\nEOF",
        "echo `echo {{ x }}`",
        'echo "`echo {{ x }}`"',
        "echo \\{{ x }}",
        "echo ${{ x }}",
        'echo "${{ x }}"',
        "echo $'{{ x }}'",
    ],
)
def test_places_where_nothing_can_be_quoted_are_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="cannot be quoted: put it into `env`, and write "):
        render(template, x="v")
    assert "v" in render(template.replace("x }}", "x | raw }}"), x="v")


PLACES = ["printf %s {{ x }}", 'printf %s "{{ x }}"', "printf %s '{{ x }}'", 'printf %s "$(printf %s "{{ x }}")"']


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=30), st.sampled_from(PLACES))
def test_no_value_is_ever_read_as_code(value: str, template: str) -> None:
    output = run(render(template, x=value))
    assert output == (value.rstrip("\n") if "$(" in template else value)
