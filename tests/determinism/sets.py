"""Where the order of a set comes out: it differs from run to run with the hashes of texts."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tests.determinism.uses import Use

__all__ = ["SetNames", "names_of_sets", "orders_in"]

_ADVICE = "its order differs from run to run: sort it, or keep a dict"
_MAKES_A_SET = frozenset({"set", "frozenset"})
_SET_TYPES = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet", "FrozenSet"})
_GIVES_A_SET = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_OPERATIONS = ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub
_VIEWS = frozenset({"keys", "items"})
_WRAPPERS = frozenset({"Final", "ClassVar", "Annotated"})
_ORDERLESS = frozenset({"sorted", "set", "frozenset", "any", "all", "sum", "len", "min", "max", "bool"})
"""Whoever calls these with a set sees nothing of its order; but `min` and `max` do of two that are equal."""
_PASS_ON = frozenset({"map", "filter", "iter", "list", "tuple"})
"""What these are given goes to who called them, a thing at a time."""
_ORDERED = frozenset(
    {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "dict", "deque", "Counter", "OrderedDict"}
)
_ORDERED_METHODS = frozenset({"join", "extend", "fromkeys", "chain", "from_iterable", "islice", "writelines"})


class SetNames(NamedTuple):
    """Names that are sets wherever the product says what they are.

    Attributes:
        values: of attributes, variables and parameters.
        results: of functions and properties, by what they return.
    """

    values: frozenset[str]
    results: frozenset[str]


def names_of_sets(trees: Iterable[ast.AST]) -> SetNames:
    """Return the names that every annotation and assignment in these modules agrees on."""
    values: defaultdict[str, set[bool]] = defaultdict(set)
    results: defaultdict[str, set[bool]] = defaultdict(set)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign):
                says_all = _name(node.annotation) != "Final"
                found = _is_set_type(node.annotation) if says_all else _makes_set(node.value)
                values[_name(node.target)].add(found)
            elif isinstance(node, ast.arg) and node.annotation:
                values[node.arg].add(_is_set_type(node.annotation))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    values[_name(target)].add(_makes_set(node.value))
            elif isinstance(node, ast.For | ast.comprehension):
                for target in ast.walk(node.target):
                    values[_name(target)].add(False)
            elif isinstance(node, ast.FunctionDef):
                is_property = any(_name(each) == "property" for each in node.decorator_list)
                returns_set = node.returns is not None and _is_set_type(node.returns)
                (values if is_property else results)[node.name].add(returns_set)
    return SetNames(_agreed(values), _agreed(results))


def orders_in(tree: ast.AST, names: SetNames) -> list[Use]:
    """Return where a module takes things out of a set in its order.

    Seen is what an expression shows: a set by its spelling, or by a name that is one everywhere. What a
    function makes of a set that it is given is not.
    """
    visitor = _Visitor(names)
    visitor.visit(tree)
    return sorted(set(visitor.found))


class _Visitor(ast.NodeVisitor):
    """Looks at whoever takes one thing after another out of something."""

    def __init__(self, names: SetNames) -> None:
        self.found: list[Use] = []
        self._names = names
        self._orderless: set[ast.AST] = set()
        """Arguments of those who see nothing of an order."""

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        is_method = isinstance(node.func, ast.Attribute)
        if is_method and name == "pop" and not node.args:
            self._judge(node.func.value)
        passes_on = node in self._orderless and name in _PASS_ON
        if name in (_ORDERED_METHODS if is_method else _ORDERED) and not passes_on:
            for argument in node.args[:1] if name == "fromkeys" else node.args:
                self._judge(argument)
        if not is_method and (name in _ORDERLESS or passes_on):
            self._orderless.update(node.args)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._judge(node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._visit_generators(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._visit_generators(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_generators(node)

    def _visit_generators(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if node not in self._orderless:
            for generator in node.generators:
                self._judge(generator.iter)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        for element in node.elts:
            self.visit(element.value if isinstance(element, ast.Starred) else element)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._judge(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._judge(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            self._judge(node.value)
        self.generic_visit(node)

    def _judge(self, node: ast.AST) -> None:
        if _is_set(node, self._names):
            self.found.append(Use(node.lineno, f"the order of {ast.unparse(node)}", _ADVICE))


def _is_set(node: ast.AST, names: SetNames) -> bool:
    """Tell whether an expression shows that it is a set."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATIONS):
        return any(_is_set(each, names) or _is_view(each) for each in (node.left, node.right))
    if isinstance(node, ast.IfExp):
        return _is_set(node.body, names) or _is_set(node.orelse, names)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _GIVES_A_SET:
            return _is_set(node.func.value, names) or _is_view(node.func.value)
        return _makes_set(node) or _name(node.func) in names.results
    return _makes_set(node) or _name(node) in names.values


def _makes_set(node: ast.AST | None) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATIONS):
        return _makes_set(node.left) or _makes_set(node.right)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _MAKES_A_SET
    return isinstance(node, ast.Set | ast.SetComp)


def _is_view(node: ast.AST) -> bool:
    """Tell whether it is the view of a dict's keys: what is made of two of these is a set."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _VIEWS


def _is_set_type(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_set_type(node.slice) if _name(node.value) in _WRAPPERS else _is_set_type(node.value)
    return _name(node) in _SET_TYPES


def _name(node: ast.AST) -> str:
    """Return the last name of an expression; nothing where it has none."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _agreed(found: dict[str, set[bool]]) -> frozenset[str]:
    return frozenset(name for name, each in found.items() if name and each == {True})
