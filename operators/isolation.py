"""What must get past whoever isolates one subscriber from the others."""

from .runtime import SYSTEM, Runtime

__all__ = ["ends_the_program"]


def ends_the_program(error: BaseException, runtime: Runtime = SYSTEM) -> bool:
    """Tell whether it is Ctrl-C or ``sys.exit`` on the main thread, which is for nobody here to swallow.

    On every other thread Python would end that thread with it and nothing else, so there it is an error of
    the code that raised it, like any other.
    """
    return isinstance(error, (KeyboardInterrupt, SystemExit)) and runtime.is_main()
