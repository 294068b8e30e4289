"""Values from their layers: the defaults, the folder's own, an environment's, single ones; each value knows where it was written."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

import noetl
from noetl.errors import NotFound, UsageError
from noetl.ops.values import Values

FOLDER = Path("k8s")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Path = tuple[str, ...]
_TEXTS = {
    "missing": "is missing",
    "bool_type": "is to be true or false",
    "int_type": "is to be a whole number",
    "string_type": "is to be text",
    "dict_type": "is to be a mapping",
    "model_type": "is to be a mapping",
    "list_type": "is to be a list",
}


def templates_dir() -> Path:
    """Return the folder of the templates: beside the package in a checkout, inside it in a wheel."""
    package = Path(noetl.__file__).parent
    for folder in (package.parent / "templates" / "k8s", package / "templates" / "k8s"):
        if (folder / "values.yaml").is_file():
            return folder
    raise NotFound(f"the templates are not installed: none beside or inside {package}", "install noetl again, or clone its repository")


def defaults_text() -> str:
    """Return the defaults with their comments."""
    return (templates_dir() / "values.yaml").read_text(encoding="utf-8")


def as_text(values: Values) -> str:
    """Write values as YAML, as they are used: every key, pools with what they have of `worker`."""
    return yaml.safe_dump(values.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def load_values(folder: Path = FOLDER, env: str | None = None, sets: Sequence[str] = ()) -> Values:
    """Return the values of a folder and one of its environments; raise UsageError that names each wrong one, its file and line."""
    layers = [_read(templates_dir() / "values.yaml"), *_files(folder, env), *(_given(words) for words in sets)]
    document: Any = {}
    places: dict[_Path, str] = {}
    for layer in layers:
        _known(layer, layers[0])
        document = _merged(document, layer.document)
        places |= layer.places
    return _validated(document, places)


def environments(folder: Path = FOLDER) -> list[str]:
    """Return the names of a folder's environments."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "values")


@dataclass
class _Layer:
    """One layer: what it says, and where each of its keys is written."""

    document: dict[str, Any] = field(default_factory=dict)
    places: dict[_Path, str] = field(default_factory=dict)


def _files(folder: Path, env: str | None) -> list[_Layer]:
    found = [_read(folder / "values.yaml")] if (folder / "values.yaml").is_file() else []
    if env is None:
        return found
    path = folder / f"{env}.yaml"
    if env == "values" or not path.is_file() or path.parent != folder:
        known = environments(folder)
        near = difflib.get_close_matches(env, known, 1)
        said = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}" if known else f"write {folder / env}.yaml"
        raise UsageError(f"there is no environment {env!r} in {folder}", said)
    return [*found, _read(path)]


def _read(path: Path) -> _Layer:
    shown = str(path)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(
            f"{shown}:{line}: not YAML: {error.problem}", "check the indentation, and that quotes and brackets are closed"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown}: not YAML: {error}", "write it as UTF-8 text") from error
    if node is None:
        return _Layer()
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{shown}:1: values are a mapping", "namespace: noetl")
    layer = _Layer()
    _note(node, (), shown, layer.places)
    layer.document = yaml.SafeLoader("").construct_document(node)
    return layer


def _note(node: yaml.Node, path: _Path, shown: str, places: dict[_Path, str]) -> None:
    """Note where each key and item under a node is written; refuse a key that is written twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below, line = (*path, str(key.value)), key.start_mark.line + 1
            if below in places:
                raise UsageError(f"{shown}:{line}: {'.'.join(below)} is written twice", f"first at {places[below]}")
            places[below] = f"{shown}:{line}"
            _note(value, below, shown, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*path, str(index))] = f"{shown}:{item.start_mark.line + 1}"
            _note(item, (*path, str(index)), shown, places)


def _given(words: str) -> _Layer:
    """Read a `key.key=value`; the value is YAML."""
    name, equals, text = words.partition("=")
    path = tuple(name.split("."))
    if not equals or not all(path):
        raise UsageError(f"--set {words} is no key and value", "--set worker.replicas=3")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError as error:
        raise UsageError(f"--set {name}: the value is not YAML", "put it in quotes") from error
    document: Any = value
    for key in reversed(path):
        document = {key: document}
    return _Layer(document, {path[: size + 1]: f"--set {name}" for size in range(len(path))})


def _merged(below: Any, above: Any) -> Any:
    """Lay a layer over another: mappings key by key, anything else as a whole."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return copy.deepcopy(above)
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def _known(layer: _Layer, defaults: _Layer) -> None:
    """Refuse keys that are no values, naming the nearest that is one."""
    for path, place in layer.places.items():
        like = _like(path)
        parent = _at(defaults.document, like[:-1])
        if not isinstance(parent, Mapping) or not parent or like[-1] in parent or _free(like[:-1]):
            continue
        near = difflib.get_close_matches(like[-1], [str(key) for key in parent], 1)
        dotted = ".".join(path)
        hint = f"did you mean {'.'.join((*path[:-1], near[0]))}?" if near else f"there are: {', '.join(map(str, parent))}"
        raise UsageError(f"{place}: there is no value {dotted}", hint)


def _like(path: _Path) -> _Path:
    """Return the path among the defaults that says what may be at a path: a pool may have what `worker` has."""
    return ("worker", *path[2:]) if path[0] == "pools" and len(path) > 2 else path


def _free(path: _Path) -> bool:
    """Tell whether the keys of a mapping are the user's to choose though the defaults have some."""
    return path in (("pools",), ("postgres", "settings")) or path[-1:] in (("requests",), ("limits",))


def _at(document: Any, path: _Path) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _validated(document: dict[str, Any], places: Mapping[_Path, str]) -> Values:
    pools = document["pools"]
    if isinstance(pools, Mapping):
        document = {**document, "pools": {key: _merged(document["worker"], pool) for key, pool in pools.items() if pool is not None}}
    try:
        return Values.model_validate(document)
    except ValidationError as error:
        found = list(dict.fromkeys(_described(details, places) for details in error.errors()))
        raise UsageError("\n".join(found), "the values with what they mean: noetl k8s values --defaults") from None


def _described(details: ErrorDetails, places: Mapping[_Path, str]) -> str:
    """Write what is wrong, beginning with where the value (or what is around it) was written."""
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    text, given = details["msg"].removeprefix("Value error, "), details["input"]
    if details["type"] == "value_error":  # it begins with the value's name, seen from its section
        path = (*path, *text.split(" ")[0].split("."))
        text = text.partition(" ")[2]
    elif details["type"] in _TEXTS:
        text = _TEXTS[details["type"]]
    else:
        text = f"is wrong: {text[:1].lower()}{text[1:]}"
    if path not in places and _like(path) in places:
        path = _like(path)
    named = ".".join(path)
    while path and path not in places:
        path = path[:-1]
    where = f"{places[path]}: " if path else ""
    shown = f", not {given!r}" if isinstance(given, (str, int, float)) and details["type"] not in ("missing", "value_error") else ""
    return f"{where}{named} {text}{shown}"
