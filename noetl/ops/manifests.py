"""The manifests of Kubernetes: values, an image and a cluster's version in, documents out. The same in gives the same out, to the byte."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from noetl.bus import subjects
from noetl.errors import NoetlError, UsageError
from noetl.ops.builds import last_build
from noetl.ops.layers import templates_dir
from noetl.ops.platforms import normal
from noetl.ops.secret_keys import wanted_secrets
from noetl.ops.value_types import bytes_of
from noetl.ops.values import Values

COMPONENTS = (
    "namespace",
    "rbac",
    "config",
    "secret",
    "postgres",
    "nats",
    "network-policy",
    "migrate",
    "server",
    "worker",
    "disruption",
    "autoscaling",
    "monitoring",
)
"""The templates, in the order in which a cluster wants them."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
OLDEST, NEWEST = "1.20", "1.37"
"""The versions of Kubernetes whose APIs the templates know."""


@dataclass(frozen=True)
class ImageRef:
    """An image: `digest` where a registry has it, else its unique tag with the engine's id of it."""

    tag: str
    image_id: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Return the name by which a node finds it."""
        if not self.digest:
            return self.tag
        return f"{_repository(self.tag)}@{self.digest.rpartition('@')[2]}"


@dataclass(frozen=True)
class Manifest:
    """A document for the cluster: of which component, by which name, and as YAML."""

    component: str
    name: str
    document: dict[str, Any] = field(hash=False)
    text: str

    @property
    def kind(self) -> str:
        """Return the document's kind."""
        return str(self.document["kind"])


def parse_image(text: str) -> ImageRef:
    """Read an image's name, with a tag or a digest."""
    if not re.fullmatch(r"[a-z0-9][-a-z0-9._:/]*[A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?", text):
        raise UsageError(f"{text!r} is no name of an image", "--image registry.example/noetl:1.2.3")
    tag, _, digest = text.partition("@")
    return ImageRef(tag, digest=digest)


def image_to_render(image: str, platform: str, folder: Path) -> tuple[ImageRef, str | None]:
    """Return the image that is named, else the last one that was built in a folder, and the platform that binds it to nodes."""
    if image:
        return parse_image(image), platform or None
    last = last_build(folder)
    if last is None:
        raise UsageError(f"no image is named, and none was built in {folder}", "build one: inv build; or name one: --image NAME:TAG")
    if platform and normal(platform) != last.platform:
        raise UsageError(f"the last build, {last.tag}, is for {last.platform}, not {platform}", f"inv build --platform {normal(platform)}")
    return ImageRef(last.tag, last.image_id, last.digest or ""), last.platform


def render(
    values: Values,
    *,
    image: ImageRef,
    platform: str | None = None,
    kube_version: str = NEWEST,
    secret_marks: Mapping[str, str] | None = None,
) -> list[Manifest]:
    """Return the manifests in the order in which they are to be applied.

    `platform` (`linux/arm64`) binds servers and workers to such nodes. `secret_marks` has for a Secret's name whatever changes with its
    content: pods whose Secret's mark is another are replaced.
    """
    environment = _environment()
    version = parse_version(kube_version)
    shared = {
        "values": values,
        "image": image,
        "arch": _architecture(platform),
        "config": _config(values),
        "secrets": {key.variable: key for key in wanted_secrets(values)},
        "secret_marks": dict(sorted((secret_marks or {}).items())),
        "databases_sql": (Path(__file__).with_name("embedded.sql")).read_text(encoding="utf-8"),
        "dashboard": (templates_dir() / "dashboard.json").read_text(encoding="utf-8"),
        "nats_stream": subjects.STREAM,
        "nats_consumer": subjects.consumer,
        "policy_api": "policy/v1" if version >= (1, 21) else "policy/v1beta1",
        "autoscaling_api": "autoscaling/v2" if version >= (1, 23) else "autoscaling/v2beta2",
    }
    found = []
    for component in COMPONENTS:
        for document in _documents(environment, component, shared):
            text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
            found.append(Manifest(component, str(document["metadata"]["name"]), document, text))
    return found


def parse_version(text: str) -> tuple[int, int]:
    """Read a version of Kubernetes (`1.29`, `v1.20.2`, `1.27+`); refuse one that is older than the templates know."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    if found is None:
        raise UsageError(f"{text!r} is no version of Kubernetes", f"--kube-version {NEWEST}")
    version = (int(found[1]), int(found[2]))
    if version < tuple(int(part) for part in OLDEST.split(".")):
        raise UsageError(f"Kubernetes {text} is older than {OLDEST}, the oldest that noetl is made for", f"--kube-version {OLDEST}")
    return version


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes text of several lines as a block, as a person would."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


@functools.cache
def _environment() -> jinja2.Environment:
    """Make the sandbox of the templates; whatever they name that is not there is an error."""
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(templates_dir()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": _json, "checksum": _checksum, "under": _under}
    return environment


def _documents(environment: jinja2.Environment, component: str, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = f"{component}.yaml.j2"
    try:
        text = environment.get_template(name).render(shared)
        return [document for document in yaml.load_all(text, Loader=_LOADER) if document]
    except jinja2.TemplateSyntaxError as error:
        raise NoetlError(f"{error.filename or name}:{error.lineno}: {error.message}", "correct the template") from error
    except jinja2.TemplateError as error:
        raise NoetlError(f"{_place(error, name)}: {error.message}", "correct the template") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise NoetlError(f"{name}: line {line} of what it renders is not YAML: {error.problem}", "correct the template") from error


def _place(error: Exception, name: str) -> str:
    """Return the template and the line at which it failed."""
    place, traceback = name, error.__traceback__
    while traceback is not None:
        if (file := Path(traceback.tb_frame.f_code.co_filename)).suffix == ".j2":
            place = f"{file.name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def _json(value: object) -> str:
    """Write a value as JSON, which YAML reads; what is None in a mapping is left out."""
    if isinstance(value, Mapping):
        value = {key: one for key, one in value.items() if one is not None}
    return json.dumps(value, ensure_ascii=False)


def _under(text: str, spaces: int) -> str:
    """Put a macro's lines where its call stands, which is `spaces` from the left."""
    return textwrap.indent(text.strip("\n"), " " * spaces).lstrip(" ")


def _checksum(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _architecture(platform: str | None) -> str:
    """Return what nodes of a platform have as `kubernetes.io/arch`; empty for any."""
    return normal(platform).rpartition("/")[2] if platform else ""


def _config(values: Values) -> dict[str, str]:
    """Return the variables of servers and workers that are no secrets."""
    settings = values.settings
    return {
        "NOETL_LOG_FORMAT": settings.log_format,
        "NOETL_LEASE_SECONDS": str(settings.lease_seconds),
        "NOETL_STEP_TIMEOUT": str(settings.step_timeout),
        "NOETL_STEP_MEMORY": str(bytes_of(settings.step_memory)),
        "NOETL_MAX_RESULT": str(bytes_of(settings.max_result)),
        "NOETL_MAX_REQUEST": str(bytes_of(settings.max_request)),
        **dict(sorted(values.env.items())),
    }


def _repository(tag: str) -> str:
    """Return an image's name without its tag; a port of its registry stays."""
    folder, slash, last = tag.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"
