"""Settings of Sphinx, with which ``make docs`` makes one site of these pages and of the public docstrings."""  # noqa: INP001  # no package

import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

project = "Tickbraid"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
nitpicky = True  # a name that does not exist is a warning, and warnings are errors
nitpick_ignore = [("py:class", "SchedulerBase")]  # a forward reference in reactivex's own types
myst_heading_anchors = 4  # links to headings are checked, too
autodoc_preserve_defaults = True
maximum_signature_line_length = 90
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    # What an internal mixin gives to a public class is public; what all events have is described once.
    "inherited-members": "StatusEvent,Struct,BaseException,dict,tuple",
}

# As in `load_settings`, not as in ``settings.yaml`` or :py:obj:`load_settings`.
_NAMED: Final = re.compile(r"(?<![`\w:])`([^`<> ]+)`(?!`)")
_RAISES: Final = re.compile(r"(?<=^:raises )[\w.]+(?=:)")
DOCS: Final = Path(__file__).parent
# The packages that users import from are named on their pages, and nowhere else.
PUBLIC: Final = [
    module
    for page in sorted((DOCS / "reference").glob("*.md"))
    for module in re.findall(r"^\.\. automodule:: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
]
_OURS: Final = {module.partition(".")[0] for module in PUBLIC}
_public: Final[dict[int, str]] = {}  # by id of the class or function that is described


def setup(app: Sphinx) -> None:
    """Look the names in docstrings up where they stand, and not only among what is public."""
    app.connect("env-before-read-docs", _sort)
    app.connect("autodoc-process-docstring", _guard_colon, priority=100)  # before napoleon's 500
    app.connect("autodoc-process-docstring", _link_names, priority=900)
    app.connect("autodoc-process-signature", _hide_default)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _resolve)


def _sort(_: Sphinx, _environment: BuildEnvironment, pages: list[str]) -> None:
    """Read the last page of the navigation first: of two packages that export one thing, it describes it."""
    index = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    pages.sort(key=lambda page: index.index(page) if page in index else 0, reverse=True)


def _guard_colon(_: Sphinx, what: str, _name: str, _object: object, _options: Any, lines: list[str]) -> None:
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment: before a colon in the first line, napoleon sees a type


def _hide_default(*event: Any) -> tuple[str, str] | None:
    *_, signature, returned = event  # a default is shown as its repr, which needs not be Python
    return (re.sub(r"= (\*\*\*|<\w+>)", "= ...", signature), returned) if signature else None


def _skip(_: Sphinx, what: str, _name: str, item: object, skip: bool, _options: Any) -> bool:  # noqa: FBT001
    """Leave out what was described already, and what a class has from another library, which describes it."""
    module = _module(item)
    return (
        skip
        or (what == "module" and id(item) in _public)
        or (module is not None and module.partition(".")[0] not in _OURS)
    )


def _module(item: object) -> str | None:
    return getattr(getattr(item, "fget", item), "__module__", None)  # a field has none


def _link_names(_: Sphinx, what: str, name: str, item: object, _options: Any, lines: list[str]) -> None:
    if inspect.isclass(item) or inspect.isroutine(item):
        _public.setdefault(id(item), name)
    elif what == "module":
        others = [each for each in getattr(item, "__all__", ()) if id(getattr(item, each)) in _public]
        links = ", ".join(f":py:obj:`{each} <{name}.{each}>`" for each in others)
        lines += ["", f"Also here, and described elsewhere: {links}."] if others else []
    scopes = _scopes(name, item)

    def find(named: str) -> str:
        bare = named.removesuffix("()")
        for scope in scopes:
            if _look_up(f"{scope}{bare}") is not None:
                return f"{scope}{bare}"
        logging.getLogger(__name__).warning("docstring of %s: there is no `%s`", name, named)
        return named

    for number, line in enumerate(lines):
        linked = _NAMED.sub(lambda match: f":py:obj:`{match[1]} <{find(match[1])}>`", line)
        lines[number] = _RAISES.sub(lambda match: f"~{find(match[0])}", linked)


def _scopes(name: str, item: object) -> list[str]:
    """Return where a name in a docstring is looked for, innermost first: classes, modules, what is public."""
    holder = name.rpartition(".")[0]
    classes = [base for it in (item, _look_up(holder)) if inspect.isclass(it) for base in it.__mro__[:-1]]
    paths = [
        *(f"{each.__module__}.{each.__qualname__}" for each in classes),
        *(_module(each) for each in (item, *classes)),
        name,
        holder,
        *PUBLIC,
        "builtins",
    ]
    return [*(f"{path}." for path in dict.fromkeys(paths) if path), ""]


@cache
def _look_up(path: str) -> object | None:
    """Return what is there, something that is not None where only its name is known, or None."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except (ImportError, TypeError, ValueError):
            continue  # a class, or what is in one
        for part in parts[length:]:
            found = getattr(found, part, None) or _declared(found, part)
            if found is None:
                return None
        return found
    return None


def _declared(owner: object, name: str) -> str | None:
    """Return the name of an attribute that only the instances of a class have."""
    for each in inspect.getmro(owner) if inspect.isclass(owner) else ():
        if name in inspect.get_annotations(each):
            return name
        if each.__module__.partition(".")[0] in _OURS and f"self.{name}" in inspect.getsource(each):
            return name
    return None


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Element | None:
    """Link to where something is described, whatever module it is in; what is internal is shown unlinked."""
    target = node["reftarget"]
    found = _look_up(target)
    if found is None:
        return None  # which is a warning
    owner, _, rest = target.rpartition(".")
    public = _public.get(id(found)) or f"{_public.get(id(_look_up(owner)), owner)}.{rest}"
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, shown) or shown
