"""Where settings come from: ``settings.yaml``, ``.env``, the environment, a mapping, as layers; later wins.

dynaconf reads the YAML (1.2, so that ``ON`` and ``NO`` stay the tickers they are), parses ``.env``, and
resolves its tokens (``@format {env[HOME]}``, ``@read_file /run/secrets/key``) in the first three layers. Its
own environment loader is not used: it guesses types, which turns the ticker ``1E5`` into a number.
``os.environ`` is never changed.
"""

import functools
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .setting_keys import CONNECTIONS_MAX, KEYS, RENAMED, UNIVERSES, known_keys, split_connection_key
from .setting_kinds import nearest
from .setting_typos import near_keys

__all__ = [
    "Layer",
    "config_layer",
    "dotenv_layer",
    "environment_layer",
    "file_layer",
    "is_known",
    "read_yaml",
    "shipped_file",
    "shipped_universes",
]

logger = logging.getLogger("tickbraid.settings")

# Not by `import`: mypy would follow it out of a user's script into dynaconf, whose YAML reader it cannot
# parse, and check nothing at all.
Dynaconf: Any = import_module("dynaconf").Dynaconf
DynaconfSettings: Any = import_module("dynaconf.base").Settings
parse_stream: Any = import_module("dynaconf.vendor.dotenv.parser").parse_stream
yaml: Any = import_module("dynaconf.vendor.ruamel.yaml")


@dataclass(frozen=True, slots=True)
class Layer:
    """Holds what one source says, under the keys' present names.

    Args:
        source: what problems and the provenance call it.
        values: key to value, as it came.
    """

    source: str
    values: Mapping[str, Any]


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: it cannot be read or does not parse; the text says where, and quotes nothing of it.
    """
    try:
        return yaml.safe_load(io.StringIO(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None
    except yaml.constructor.DuplicateKeyError as error:
        raise ValueError(f"line {error.problem_mark.line + 1}: a key stands there a second time") from None
    except Exception as error:  # noqa: BLE001  # beside its own errors: an odd date, a list as a key, …
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}is no YAML") from None


def shipped_file() -> Path:
    """Return the ``settings.yaml`` that comes with Tickbraid: beside this file, or above it in a checkout."""
    installed = Path(__file__).with_name("settings.yaml")
    return installed if installed.exists() else Path(__file__).parent.parent / "settings.yaml"


@functools.cache
def shipped_universes() -> Mapping[str, Any]:
    """Return the universes that come with Tickbraid; read once."""
    universes: Mapping[str, Any] = read_yaml(shipped_file())["universes"]
    return universes


def file_layer(path: Path, problems: list[str]) -> Layer:
    """Read a settings file; an unknown key in it is a problem."""
    source = path.name
    try:
        content = read_yaml(path)
    except ValueError as error:
        problems.append(f"{source}: {error}")
        return Layer(source, {})
    if content is None:
        return Layer(source, {})
    if not isinstance(content, Mapping):
        problems.append(f"{source}: got a {type(content).__name__}, expected a mapping of keys to values")
        return Layer(source, {})
    return Layer(source, _resolve(_strict(content, source, problems), source, problems))


def dotenv_layer(path: Path, problems: list[str]) -> Layer:
    """Read a ``.env`` file, if there is one; unknown names in it are others' business, unless nearly ours."""
    source = ".env"
    values = {}
    try:
        bindings = list(parse_stream(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except FileNotFoundError:
        return Layer(source, {})
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "it is no UTF-8 text"
        problems.append(f"{source}: cannot be read: {reason}")
        return Layer(source, {})
    for binding in bindings:
        if binding.error:
            problems.append(f"{source}: line {binding.original.line}: is no NAME=value")
        elif binding.key and binding.value is not None:
            values[binding.key] = binding.value
    return _process_layer(source, values, problems)


def environment_layer(environ: Mapping[str, str], problems: list[str]) -> Layer:
    """Pick our keys out of the environment; all else is ignored, what is nearly a key with a warning."""
    return _process_layer("environment", environ, problems)


def _process_layer(source: str, values: Mapping[str, str], problems: list[str]) -> Layer:
    for name, key in near_keys(values):
        logger.warning("%s (%s) is no key and is ignored; did you mean %s?", name, source, key)
    return Layer(source, _resolve(_renamed(_of_process(values), source), source, problems))


def config_layer(config: Any, problems: list[str]) -> Layer:
    """Take a mapping, in which an unknown key is a problem, or a dynaconf object, which may hold others' too.

    Raises:
        TypeError: it is neither.
    """
    source = "config"
    if isinstance(config, Dynaconf | DynaconfSettings):
        return Layer(source, _renamed(_known(_from_dynaconf(config)), source))
    if isinstance(config, Mapping):
        return Layer(source, _renamed(_strict(config, source, problems), source))
    raise TypeError(f"config must be a mapping or a dynaconf object, not {type(config).__name__}")


def is_known(name: str) -> bool:
    """Tell whether a name is a setting's, present or old."""
    return name in KEYS or name in RENAMED or name == UNIVERSES or split_connection_key(name) is not None


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if is_known(name)}


def _of_process(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _known(values).items() if name != UNIVERSES}


def _from_dynaconf(config: Any) -> dict[str, Any]:
    return {name.upper(): config.get(name) for name in list(config.keys()) if is_known(name.upper())}


def _strict(content: Mapping[Any, Any], source: str, problems: list[str]) -> dict[str, Any]:
    known = {}
    for name, value in content.items():
        key = name.upper() if isinstance(name, str) else ""
        if is_known(key):
            known[key] = value
        else:
            problems.append(f"{name} ({source}): unknown key{nearest(key, known_keys(CONNECTIONS_MAX))}")
    return known


def _renamed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Give old names their present one; the present one wins where both are set."""
    present = {name: value for name, value in values.items() if name not in RENAMED}
    from_old: dict[str, Any] = {}
    for old, new in RENAMED.items():
        if old in values:
            message = f"{old} ({source}) is an old name: use {new}"
            logger.warning("%s", message)
            warnings.warn(message, DeprecationWarning, stacklevel=4)  # the caller of load_settings
            from_old[new] = values[old]
    for new, value in from_old.items():
        if present.get(new) in (None, ""):
            present[new] = value
    return present


def _resolve(values: dict[str, Any], source: str, problems: list[str]) -> dict[str, Any]:
    """Resolve dynaconf's tokens; what does not resolve is a problem and counts as not set."""
    values = {name: _unmarked(value) for name, value in values.items()}
    tokens = {name: v for name, v in values.items() if isinstance(v, str) and v.startswith("@")}
    if not tokens:
        return values
    box = Dynaconf(load_dotenv=False, envvar_prefix=None, core_loaders=[], loaders=[])
    for name, value in values.items():
        if name not in tokens:
            box.set(name, value)
    resolved = dict(values)
    for name, token in tokens.items():
        try:
            box.set(name, token)
            resolved[name] = _unmarked(box.get(name))  # of a file that was read
        except Exception as error:  # noqa: BLE001  # a token may run into anything: a file, a name, a number
            del resolved[name]
            kind = token.partition(" ")[0]
            problems.append(f"{name} ({source}): dynaconf cannot resolve {kind} ({type(error).__name__})")
    return resolved


def _unmarked(value: Any) -> Any:
    """Return a text without the byte order mark of the file it is out of: ``export KEY=$(cat key.txt)``."""
    return value.removeprefix("\ufeff") if isinstance(value, str) else value
