"""A deliberate breakage of the product: one line of it that says something else, for a while."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import Any, Final

from tests.simulation.schedule import Schedule

__all__ = ["Breakage", "Edit", "Stale", "happens"]

MARK: Final = "_passes_breakage_{}"
"""So is called, in the module of a broken line, what is told that it runs."""


class Stale(AssertionError):
    """What is to be broken is not there any more."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one function.

    Args:
        where: ``package.module:Class.method``.
        line: what stands there, once in that function: a line or a part of one.
        instead: what is to stand there; of several lines each begins where it did.
    """

    where: str
    line: str
    instead: str

    @contextmanager
    def applied(self, passed: Callable[[], object]) -> Iterator[None]:
        """Break the function, everywhere it is known already; mend it at the end.

        Args:
            passed: called each time the broken line is about to run.

        Raises:
            Stale: there is no such function, or it has no such line.
        """
        function = self._function()
        whole, names = function.__code__, function.__globals__
        mark = next(name for name in map(MARK.format, count()) if name not in names)
        function.__code__ = self._broken(function, mark)
        names[mark] = passed
        try:
            yield
        finally:
            function.__code__ = whole
            del names[mark]

    def _function(self) -> FunctionType:
        module, _, path = self.where.partition(":")
        try:
            holder = (
                resolve_name(f"{module}:{path.rpartition('.')[0]}") if "." in path else resolve_name(module)
            )
            found: Any = vars(holder)[path.rpartition(".")[2]]
        except (ImportError, AttributeError, KeyError) as missing:
            raise Stale(f"there is no {self.where}") from missing
        found = getattr(found, "fget", None) or getattr(found, "__func__", found)
        return inspect.unwrap(found)  # type: ignore[no-any-return]  # of a context manager, what it wraps

    def _broken(self, function: FunctionType, mark: str) -> CodeType:
        lines, first = inspect.getsourcelines(function)
        source = textwrap.dedent("".join(lines))
        if source.count(self.line) != 1:
            raise Stale(f"{self.where} has {source.count(self.line)} times {self.line!r}")
        at = source.index(self.line)
        number = source.count("\n", 0, at) + 1
        indent = " " * (at - source.rindex("\n", 0, at) - 1)
        instead = self.instead.replace("\n", f"\n{indent}")
        tree = ast.parse(source[:at] + instead + source[at + len(self.line) :])
        _mark(tree.body, number, mark)
        return _compiled(ast.increment_lineno(tree, first - 1), function)


def _mark(body: list[ast.stmt], number: int, mark: str) -> None:
    """Put a call before the innermost statement that stands on a line."""
    for place, statement in enumerate(body):
        if statement.lineno <= number <= (statement.end_lineno or 0):
            for inner in _bodies(statement):
                if inner and inner[0].lineno <= number <= (inner[-1].end_lineno or 0):
                    _mark(inner, number, mark)
                    return
            call = ast.Expr(ast.Call(ast.Name(mark, ast.Load()), [], []))
            body.insert(place, ast.fix_missing_locations(ast.copy_location(call, statement)))
            return
    raise Stale(f"no statement is on line {number}")


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body


def _compiled(tree: ast.Module, function: FunctionType) -> CodeType:
    """Compile a function's source to what can stand in its place."""
    closed_over = function.__code__.co_freevars
    if closed_over:  # so as to be free in the new code too; of ``super()`` that is ``__class__``
        around = ast.parse("def around():\n" + "\n".join(f"    {name} = None" for name in closed_over))
        around.body[0].body += tree.body  # type: ignore[attr-defined]
        tree = around
    code = compile(tree, function.__code__.co_filename, "exec")
    for found in _codes(code):
        if found.co_name == function.__name__ and found.co_freevars == closed_over:
            return found
    raise Stale(f"broken, {function.__qualname__} closes over other names")


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def happens(schedule: Schedule, *kinds: str) -> bool:
    """Tell whether any of these faults happens in a world."""
    return any(fault.kind in kinds for fault in schedule.faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """A defect that somebody might write, and that a simulated world has to find.

    Args:
        name: of it.
        part: of the product.
        seen: what a user of the product would see.
        edits: what is broken: one line, or the same in several places.
        can_show: tells which worlds can show it, with what happens in them.
        may_crash: a thread that dies is what it does.
    """

    name: str
    part: str
    seen: str
    edits: tuple[Edit, ...]
    can_show: Callable[[Schedule], bool] = lambda _: True
    may_crash: bool = False

    @contextmanager
    def applied(self, passed: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Let the product be broken.

        Args:
            passed: called each time a broken line is about to run.

        Raises:
            Stale: there is nothing to be broken.
        """
        with ExitStack() as edits:
            for edit in self.edits:
                edits.enter_context(edit.applied(passed))
            yield
