"""What to do about an exception that a step's code has raised."""

from __future__ import annotations

import builtins
import difflib
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType


def hint_of(error: BaseException, filename: str) -> str:
    """Return what to type or to change, for the mistakes that are made most; `filename` is that of the step's code."""
    try:
        return _hint(error, filename)
    except Exception:
        # The exception and what it holds are the step's own, and may do anything when they are looked at.
        return ""


def _hint(error: BaseException, filename: str) -> str:
    match error:
        case ModuleNotFoundError(name=str(name)):
            root = name.partition(".")[0]
            known = {*sys.stdlib_module_names, *(module.name for module in pkgutil.iter_modules())}
            install = f"install the package that has it where the worker runs: {sys.executable} -m pip install PACKAGE"
            return _near(root, known - {root}) or install
        case UnboundLocalError():
            return "give it a value on every way that leads there"
        case NameError(name=str(name)):
            here = _names(error.__traceback__, filename)
            return _near(name, here) or "define it in the code, or pass it in the step's `args`, as a parameter of `main`"
        case AttributeError(name=str(name), obj=Mapping()):
            return f"the values of a mapping are read with [{name!r}]"
        case AttributeError(name=str(name), obj=obj) if obj is not None:
            return _near(name, dir(type(obj)))
        case KeyError():
            return "read it with .get(KEY), or see what the step before has returned: noetl execution get ID"
        case FileNotFoundError():
            return f"write the whole path: code runs on the worker's machine, and a relative path is below {Path.cwd()}"
        case TypeError() if "NoneType" in str(error):
            return "a value is None: what a template names that is not there is null; see the step's `args`"
        case TypeError() if "operand" in str(error) or "concatenate" in str(error):
            return "convert the values first: int(...), float(...), str(...)"
    return ""


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    return f"did you mean {found[0]}?" if found else ""


def _names(trace: TracebackType | None, filename: str) -> set[str]:
    """Return the names that the code sees where it has failed."""
    names = set(dir(builtins))
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            names |= {*trace.tb_frame.f_locals, *trace.tb_frame.f_globals}
        trace = trace.tb_next
    return names
