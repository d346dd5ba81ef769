"""Where a compare goes by the wall clock, which may be set at any time."""

import ast

from tests.determinism.uses import Use

__all__ = ["compares_in"]

_ADVICE = "the wall clock may be set at any time: go by a count, or by the monotonic clock"
_OF_WALL = frozenset({"received_ns", "decoded_ns", "taken_ns", "at_ns", "now_ns", "clock", "_clock"})
"""Names of what the wall clock showed, and of the clock itself."""
_SAME = frozenset({"abs", "float", "int", "max", "min", "round"})
"""What these are given they give back, more or less."""


def compares_in(tree: ast.AST) -> list[Use]:
    """Return the compares in a module of which one side shows by its names that it is of the wall clock.

    By such a one, what came later may be before what came earlier, and what is new may be old. Not seen is
    what has another name.
    """
    return [
        Use(node.lineno, ast.unparse(node), _ADVICE)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and any(_is_of_wall(each) for each in (node.left, *node.comparators))
    ]


def _is_of_wall(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_of_wall(node.left) or _is_of_wall(node.right)
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", "")
        return _is_of_wall(node.func) or (called in _SAME and any(map(_is_of_wall, node.args)))
    if isinstance(node, ast.Attribute):
        return node.attr in _OF_WALL
    return isinstance(node, ast.Name) and node.id in _OF_WALL
