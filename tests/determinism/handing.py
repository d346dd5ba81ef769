"""Where something is made in the stream, and is not handed what it runs on: it would take the system's."""

import ast
from collections.abc import Iterable, Mapping

from tests.determinism.uses import Use

__all__ = ["forgotten_in", "takers_of"]

PARAMETERS = frozenset({"runtime", "clock", "clock_ns", "monotonic", "uniform"})


def takers_of(trees: Iterable[ast.AST]) -> dict[str, dict[str, int]]:
    """Return, of each class and function that can do without, the parameters that it should be handed.

    The numbers are their places among the arguments of a call; a very large one where only the name will do.
    """
    takers: dict[str, dict[str, int]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                        _note(takers, node.name, each.args, skip=1)
            elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
                _note(
                    takers,
                    node.name,
                    node.args,
                    skip=node.args.args[:1] and node.args.args[0].arg in {"self", "cls"},
                )
    return takers


def _note(takers: dict[str, dict[str, int]], name: str, arguments: ast.arguments, skip: int) -> None:
    places = [*arguments.posonlyargs, *arguments.args]
    optional = places[len(places) - len(arguments.defaults) :]
    found = {each.arg: places.index(each) - skip for each in optional if each.arg in PARAMETERS}
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None and each.arg in PARAMETERS:
            found[each.arg] = 1_000
    if found:
        takers[name] = found


def forgotten_in(tree: ast.AST, takers: Mapping[str, Mapping[str, int]]) -> list[Use]:
    """Return the calls in a module that do without; seen is a call by the name of what is called."""
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
            for parameter, place in takers.get(name, {}).items()
            if parameter not in named and place >= len(arguments)
        ]
    return found
