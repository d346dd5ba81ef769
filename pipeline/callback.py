"""The user's function, named by where it can be imported."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from .callables import check_callable

__all__ = ["load_callback"]


def load_callback(path: str) -> Callable[[Any], None]:
    """Import ``module:function``; the working directory comes first, as for ``python -m``.

    Raises:
        ValueError: there is no such function; says why.
    """
    module_name, _, names = path.partition(":")
    if not module_name or not names:
        raise ValueError(f"{path!r} is no MODULE:FUNCTION")
    if os.getcwd() not in sys.path:  # noqa: PTH109  # sys.path holds texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as above
    try:
        found: Any = importlib.import_module(module_name)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as error:  # an import runs anything
        raise ValueError(f"cannot load {path!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{path!r} cannot be called")  # noqa: TRY004  # the path is at fault, not a type
    try:
        check_callable(found, path)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return found  # type: ignore[no-any-return]
