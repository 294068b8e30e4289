"""Results laid out for people."""

from noetl.ops import tables


def test_a_result_of_figures_and_rows_becomes_lines_and_tables() -> None:
    result = {
        "flights": 332942,
        "late_percent": 24.4,
        "latest": [{"to": "TYS", "flights": 631}, {"to": "RIC", "flights": 2454, "tau": None}],
    }
    assert tables.result(result).splitlines() == [
        "flights       332,942",
        "late percent  24.4",
        "",
        "latest:",
        "TO   FLIGHTS  TAU",
        "TYS      631  -",
        "RIC    2,454  -",
    ]


def test_a_text_is_its_own_layout_and_anything_else_is_json() -> None:
    assert tables.result("hello") == "hello"
    assert tables.result([1, {"a": None}]) == '[\n  1,\n  {\n    "a": null\n  }\n]'
    assert tables.result({}) == "{}"
    assert tables.result(None) == "null"
    assert tables.result({"ok": True, "names": ["a"], "rows": []}).splitlines() == ["ok     true", 'names  ["a"]', "rows   []"]
