"""Where a module of the product takes from the standard library what the Runtime should hand to it."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from tests.determinism.rules import CALLED_WITH, CLASSES, DENIED, HANDED, MODULES, WHOLE

__all__ = ["Use", "uses_in"]

_TYPE_ARGUMENTS = {
    "isinstance": (1,),
    "issubclass": (0, 1),
    "cast": (0,),
    "TypeVar": (1, 2, 3),
    "NewType": (1,),
}
_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp),
)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_BY_TEXT = frozenset({"getattr", "hasattr"})
_IMPORTS = frozenset({"__import__", "importlib.import_module"})


class Use(NamedTuple):
    """One place in a file that is refused, unless it is on the list.

    Attributes:
        line: of the file.
        name: what is used there, by its own name, whatever the file calls it.
        advice: what to do instead.
    """

    line: int
    name: str
    advice: str


def uses_in(tree: ast.Module) -> list[Use]:
    """Return what is refused in a module, in the order of its lines, each once a line.

    A reference is enough: a clock that is a default argument is read by whoever forgets the argument. What is
    only named as a type is allowed, as are constants and exceptions.
    """
    visitor = _Visitor()
    visitor.visit(tree)
    return sorted(set(visitor.found))


class _Visitor(ast.NodeVisitor):
    """Follows names to the modules they come from, by scope."""

    def __init__(self) -> None:
        self.found: list[Use] = []
        self._origins: dict[str, str] = {}
        self._hidden: list[set[str]] = []
        """Names that are something else here: what each function around binds itself."""
        self._as_type = False

    def visit_Module(self, node: ast.Module) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.Import):
                self._bind_modules(each)
            elif isinstance(each, ast.ImportFrom):
                self._bind_members(each)
        bound = _bound_by(node.body)
        self._hidden.append(bound)
        self.generic_visit(node)

    def _bind_modules(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._origins[name] = alias.name if alias.asname else name

    def _bind_members(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        for alias in node.names:
            path = f"{node.module}.{alias.name}"
            if alias.name == "*":
                if node.module in MODULES or any(each.startswith(f"{node.module}.") for each in DENIED):
                    self._refuse(node, path, "import what is needed by its name")
                continue
            self._origins[alias.asname or alias.name] = path
            if not _is_class(path) and path not in MODULES and path not in WHOLE:
                # Another module could import it from this one, and nobody would see what it is.
                self._judge(node, path, called_with=CALLED_WITH.get(path, 0))

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            return
        if path := self._origin(node):
            self._judge(node, path)
        elif node.id in {"id", "hash"} and not self._is_hidden(node.id):
            self._refuse(node, node.id, "it differs from run to run: order by what the thing is")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if path := self._origin(node):
            self._judge(node, path)
        else:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        before, self._as_type = self._as_type, False
        path = self._origin(node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if path:
            self._judge(node.func, path, called_with=_given(node))
        else:
            self.visit(node.func)
        text = next((each.value for each in node.args if isinstance(each, ast.Constant)), None)
        if (path or name) in _IMPORTS and (text in MODULES or text in WHOLE):
            self._refuse(node, str(text), "import it where it can be seen")
        owner = self._origin(node.args[0]) if node.args else None
        if name in _BY_TEXT and owner and isinstance(text, str):
            self._judge(node, f"{owner}.{text}")
            node = ast.Call(node.func, node.args[1:], node.keywords)
        for position, argument in enumerate(node.args):
            (self._visit_type if position in _TYPE_ARGUMENTS.get(name, ()) else self.visit)(argument)
        for keyword in node.keywords:
            (self._visit_type if name == "TypeVar" else self.visit)(keyword.value)
        self._as_type = before

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        self._visit_type(node.slice)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_type(node.annotation)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation:
            self._visit_type(node.annotation)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self._visit_type(node.cls)
        for pattern in (*node.patterns, *node.kwd_patterns):
            self.visit(pattern)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type:
            self._visit_type(node.type)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            path = self._origin(base) or ""
            if path.startswith("reactivex.scheduler.") and path.endswith("Scheduler"):
                if not any(isinstance(each, ast.FunctionDef) and each.name == "now" for each in node.body):
                    self._refuse(node, f"{path}.now", f"it is the wall clock: {HANDED}")
            else:
                self.visit(base)
        for each in (*node.decorator_list, *node.keywords, *node.body):
            self.visit(each)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in (*node.decorator_list, node.args):
            self.visit(each)
        if node.returns:
            self._visit_type(node.returns)
        own = _parameters(node.args) | _bound_by(node.body)
        self._visit_inside(own | {"hash"} if node.name == "__hash__" else own, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._visit_inside(_parameters(node.args), [node.body])

    def _visit_inside(self, own: set[str], body: list[ast.AST] | list[ast.stmt]) -> None:
        self._hidden.append(own)
        for each in body:
            self.visit(each)
        self._hidden.pop()

    def _visit_type(self, node: ast.AST) -> None:
        before, self._as_type = self._as_type, True
        self.visit(node)
        self._as_type = before

    def _is_hidden(self, name: str) -> bool:
        return any(name in own for own in self._hidden)

    def _origin(self, node: ast.AST) -> str | None:
        """Return what a name or an attribute is, from its module on; None where no import says it."""
        if isinstance(node, ast.Name):
            return None if self._is_hidden(node.id) else self._origins.get(node.id)
        if isinstance(node, ast.Attribute):
            value = self._origin(node.value)
            return value and f"{value}.{node.attr}"
        return None

    def _judge(self, node: ast.AST, path: str, called_with: int = -1) -> None:
        """Note a use if it is refused; ``called_with`` so many arguments, -1 where it is not called."""
        if self._as_type and _is_class(path):
            return
        if path in CALLED_WITH and called_with >= CALLED_WITH[path]:
            return
        if path in MODULES or (path in WHOLE and called_with < 0):
            self._refuse(node, path, "name what is taken from it: passed on as a whole nobody sees that")
            return
        for denied, advice in DENIED.items():
            if path == denied or path.startswith(f"{denied}."):
                self._refuse(node, denied, advice)
                return
        module = next((name for name in MODULES if path.startswith(f"{name}.")), None)
        if module is None:
            return
        rule, member = MODULES[module], path.removeprefix(f"{module}.").partition(".")[0]
        if not (member in rule.allowed or (rule.constants and member.isupper())):
            self._refuse(node, f"{module}.{member}", rule.advice)

    def _refuse(self, node: ast.AST, name: str, advice: str) -> None:
        self.found.append(Use(node.lineno, name, advice))


def _is_class(path: str) -> bool:
    return path in CLASSES or path.rpartition(".")[2][:1].isupper()


def _given(call: ast.Call) -> int:
    """Return how many arguments a call has; None is none, and no seed."""
    arguments = (*call.args, *(each.value for each in call.keywords))
    return sum(not (isinstance(each, ast.Constant) and each.value is None) for each in arguments)


def _parameters(arguments: ast.arguments) -> set[str]:
    every = (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    )
    return {each.arg for each in every if each}


def _bound_by(body: list[ast.stmt]) -> set[str]:
    """Return the names that statements bind in their own scope, but for imports."""
    return {name for statement in body for name in _bindings(statement)}


def _bindings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, _NAMED) and node.name:
        yield node.name
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _bindings(child)
