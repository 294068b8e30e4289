"""What somebody sees who has just begun: warnings, how a run failed, where credentials come from."""

from __future__ import annotations

import json
from pathlib import Path

from acceptance_home import Operator

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: NAME}\nworkflow:\n"
FAILS = """\
  - step: start
    loop: {in: [2, 1, 0], iterator: n}
    tool: {kind: python, code: "def main(n): return 6 / n"}
    vars: {each: 1}
    next: each
  - {step: each, tool: {kind: python, code: "result = 1"}}
"""
HANDLED = """\
  - step: start
    loop: {in: [2, 1, 0], iterator: n}
    tool: {kind: python, code: "def main(n): return 6 / n"}
    case: [{when: "{{ event.name == 'call.error' }}", then: {log: "{{ error }}"}}]
"""
SECRET = "pass-word-1f9c"
USES = """\
  - step: start
    tool: {kind: http, url: "{{ workload.url }}/api/credentials", auth: "own api"}
output: "{{ start.data.count }}"
"""


def written(folder: Path, name: str, steps: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(HEAD.replace("NAME", name) + steps)
    return str(file)


def test_warnings_and_the_step_that_has_failed(operator: Operator, tmp_path: Path) -> None:
    file = written(tmp_path, "fails", FAILS)
    warning = f"warning: {file}: line 5: the variable `each` is hidden by the result of the step of that name; read it as vars.each"
    checked = operator.run("catalog", "validate", file)
    assert (checked.returncode, checked.stderr) == (0, f"{warning}\n")
    ran = operator.run("run", file)
    assert ran.returncode == 1
    assert warning in ran.stderr.splitlines()
    execution = next(line.split()[1] for line in ran.stderr.splitlines() if line.startswith("execution "))
    assert ran.stdout.splitlines()[-2:] == [
        f"execution {execution} FAILED: step start: ZeroDivisionError: division by zero (line 1 of the code)",
        f"  see: noetl execution why {execution}",
    ]
    status = operator.ok("execution", "status", execution).splitlines()
    assert status[1].startswith("  ✗ start") and "2/3 items  1 failed" in status[1]
    registered = operator.run("catalog", "register", file)
    assert warning in registered.stderr

    handled = operator.ok("run", written(tmp_path, "handled", HANDLED))
    shown = [line for line in handled.splitlines() if "start" in line][-1]
    assert shown.startswith("✓ start") and "2/3 items  1 failed" in shown


def test_a_credential_from_a_file_and_from_standard_input(operator: Operator, tmp_path: Path) -> None:
    operator.ok("up")
    file = written(tmp_path, "uses", USES)
    url = f"url=http://127.0.0.1:{operator.port}"
    missing = operator.run("run", file, "--set", url)
    assert missing.returncode == 1
    told = "there is no credential own api\n  store it: noetl credential set 'own api' --type TYPE --file FILE\n"
    assert told in missing.stdout

    fields = tmp_path / "fields.yaml"
    fields.write_text(f"token: {(operator.home / 'token').read_text().strip()}\nother: {SECRET}\n")
    stored = operator.ok("credential", "set", "own api", "--type", "bearer", "--file", str(fields), "--description", "of this server")
    assert stored == "credential own api: stored, with token, other\n"
    assert operator.ok("run", file, "--set", url).splitlines()[-1] == "1"
    listed = operator.ok("credential", "list")
    assert "own api" in listed and "of this server" in listed and SECRET not in listed
    assert SECRET not in operator.ok("credential", "list", "--json")

    with (tmp_path / "piped.json").open("w+") as piped:
        piped.write(json.dumps({"token": "not-the-one"}))
        piped.seek(0)
        with operator.popen("credential", "set", "own api", "--type", "bearer", stdin=piped) as verb:
            out, err = verb.communicate(timeout=100)
    assert (verb.returncode, out, err) == (0, "credential own api: stored, with token\n", "")
    refused = operator.run("run", file, "--set", url)
    assert refused.returncode == 1 and "401" in refused.stdout

    assert operator.ok("credential", "remove", "own api") == "credential own api: removed\n"
    again = operator.run("credential", "remove", "own api")
    assert again.returncode != 0 and "there is no credential own api" in again.stderr
    fields.write_text(f"{SECRET}: [")
    for words in (["--type", "bearer", "--file", str(fields)], ["--type", "bearer", "--file", str(tmp_path / "none")]):
        broken = operator.run("credential", "set", "x", *words)
        assert broken.returncode == 2 and SECRET not in broken.stderr
    fields.write_text("token: t\n")
    untyped = operator.run("credential", "set", "x", "--file", str(fields))
    assert untyped.returncode == 2 and "noetl credential set x --type postgres --file FILE" in untyped.stderr
