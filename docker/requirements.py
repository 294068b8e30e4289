"""Prints what pyproject.toml depends on, sorted, without the packages that are named: `requirements.py FILE [NAME…]`."""

import re
import sys
import tomllib
from pathlib import Path

FILE, *LEFT_OUT = sys.argv[1:]
for line in sorted(tomllib.loads(Path(FILE).read_text())["project"]["dependencies"]):
    if re.split(r"[^A-Za-z0-9._-]", line)[0] not in LEFT_OUT:
        sys.stdout.write(f"{line}\n")
