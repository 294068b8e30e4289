"""The shell tool with real commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from outcomes import value

from noetl.worker.sandbox import Failed


async def test_output_and_exit_code(bench: Any) -> None:
    assert value(await bench.run("shell", {"cmds": ["echo one; echo two >&2", "echo three"]})) == {
        "exit_code": 0,
        "stdout": "one\nthree\n",
        "stderr": "two\n",
    }


async def test_values_are_quoted(bench: Any) -> None:
    text = "it's; $(touch gone) `id`"
    assert value(await bench.run("shell", {"cmd": "printf %s {{ text }}"}, scope={"text": text}))["stdout"] == text


async def test_the_first_failure_ends_it(bench: Any) -> None:
    outcome = await bench.run("shell", {"cmds": ["echo before", "echo why >&2; exit 3", "echo after"]})
    assert isinstance(outcome, Failed)
    assert outcome.error["type"] == "exit_code"
    assert "exit code 3" in outcome.error["message"]
    assert "why" in outcome.error["message"]
    assert outcome.result_json is not None
    assert orjson.loads(outcome.result_json) == {"exit_code": 3, "stdout": "before\n", "stderr": "why\n"}


async def test_a_folder_of_its_own_which_is_gone_afterwards(bench: Any, tmp_path: Path) -> None:
    folder = Path(value(await bench.run("shell", {"cmds": ["pwd > where", "cat where"]}))["stdout"].strip())
    assert folder.is_relative_to(bench.workdir)
    assert not folder.exists()
    assert value(await bench.run("shell", {"cmd": "pwd", "cwd": str(tmp_path)}))["stdout"].strip() == str(tmp_path)


async def test_environment(bench: Any) -> None:
    outcome = await bench.run("shell", {"cmd": 'echo "$A $B ${NOETL_API_TOKEN-none}"', "env": {"A": "{{ n }}", "B": True}}, scope={"n": 1})
    assert value(outcome)["stdout"] == "1 true none\n"


async def test_a_time_limit_ends_everything_that_was_started(bench: Any) -> None:
    outcome = await bench.run("shell", {"cmd": "sleep 76 & setsid sleep 76 & wait", "timeout": "0.3s"})
    assert outcome.error["type"] == "timeout"
    import psutil

    assert not [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "76"]]
    assert not list((bench.workdir / "calls").iterdir())


async def test_long_output_keeps_its_end(bench: Any) -> None:
    outcome = await bench.run("shell", {"cmd": "head -c 1200000 /dev/zero | tr '\\0' x; echo end"})
    assert isinstance(outcome, Failed) or value(outcome)["stdout"].endswith("end\n")


async def test_output_that_is_no_text(bench: Any) -> None:
    assert value(await bench.run("shell", {"cmd": "printf '\\377\\000a'"}))["stdout"] == "\ufffd\ufffda"
