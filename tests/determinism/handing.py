"""Where something is made in the stream, and is not handed what it runs on: it would take the system's."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from tests.determinism.uses import Use

__all__ = ["Takers", "forgotten_in", "takers_of"]

PARAMETERS = frozenset({"runtime", "clock", "clock_ns", "monotonic", "uniform"})
BY_NAME_ONLY = 1_000

Takers = dict[str, dict[str, dict[str, int]]]
"""By the name of a class or function, and that of the module which has it: parameter to place in a call."""


def takers_of(trees: Mapping[str, ast.AST]) -> Takers:
    """Return, of each class and function that can do without, the parameters that it should be handed.

    Args:
        trees: of all modules, by path.
    """
    takers: Takers = {}
    for path, tree in trees.items():
        for name, arguments in _signatures(tree):
            if found := _optional_parameters(arguments):
                takers.setdefault(name, {})[_module_of(path)] = found
    return takers


def _signatures(tree: ast.AST) -> Iterator[tuple[str, ast.arguments]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    yield node.name, each.args
        elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
            yield node.name, node.args


def _optional_parameters(arguments: ast.arguments) -> dict[str, int]:
    places = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    bound = places[:1] in (["self"], ["cls"])
    optional = places[len(places) - len(arguments.defaults) :]
    found = {name: places.index(name) - bound for name in optional if name in PARAMETERS}
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None and each.arg in PARAMETERS:
            found[each.arg] = BY_NAME_ONLY
    return found


def forgotten_in(path: str, tree: ast.AST, takers: Takers) -> list[Use]:
    """Return the calls in a module that do without; seen is a call by the name of what is called."""
    origins = {name: (_module_of(path), name) for name, _ in _signatures(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").rpartition(".")[2]
            origins |= {each.asname or each.name: (module, each.name) for each in node.names}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, arguments = node.func, node.args
        if isinstance(called, ast.Name) and called.id == "partial" and arguments:
            called, *arguments = arguments
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if any(isinstance(each, ast.Starred) for each in arguments) or any(
            not each.arg for each in node.keywords
        ):
            continue
        named = {each.arg for each in node.keywords}
        found += [
            Use(node.lineno, f"{name} without its {parameter}", "hand it down")
            for parameter, place in _wanted(called, name, takers, origins).items()
            if parameter not in named and place >= len(arguments)
        ]
    return found


def _wanted(
    called: ast.expr, name: str, takers: Takers, origins: Mapping[str, tuple[str, str]]
) -> Mapping[str, int]:
    """Return what is to be handed to what is called here: of two of its name the one that is imported."""
    if isinstance(called, ast.Name) and name in origins:
        module, its_name = origins[name]
        return takers.get(its_name, {}).get(module, {})
    known = takers.get(name, {})
    return next(iter(known.values())) if len(known) == 1 else {}


def _module_of(path: str) -> str:
    return PurePosixPath(path).stem
