"""The check of `make check` that refuses what would make two runs of one seed differ."""

from textwrap import dedent

import pytest

from tests.determinism.__main__ import complain, find, read_product
from tests.determinism.exempt import INSIDE, OUTSIDE

REFUSED = {
    "time.time": "import time\nnow = time.time()",
    "time.time_ns": "import time\nnow = time.time_ns()",
    "time.monotonic": "import time\nnow = time.monotonic()",
    "time.monotonic_ns": "import time\nnow = time.monotonic_ns()",
    "time.perf_counter": "import time\nnow = time.perf_counter()",
    "time.thread_time": "import time\nnow = time.thread_time()",
    "time.sleep": "import time\ntime.sleep(1)",
    "time.localtime": "import time\nnow = time.localtime()",
    "time.strftime": "import time\nnow = time.strftime('%H')",
    "datetime.datetime.now": "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
    "datetime.datetime.utcnow": "from datetime import datetime\nnow = datetime.utcnow()",
    "datetime.datetime.today": "from datetime import datetime as D\nnow = D.today()",
    "datetime.date.today": "from datetime import date\nnow = date.today()",
    "datetime.datetime": "from datetime import datetime\nclock = datetime",
    "random.random": "import random\nx = random.random()",
    "random.shuffle": "from random import shuffle\nshuffle(x)",
    "random.Random": "from random import Random\nx = Random()",
    "random.SystemRandom": "import random\nx = random.SystemRandom()",
    "os.urandom": "import os\nx = os.urandom(4)",
    "secrets.token_hex": "import secrets\nx = secrets.token_hex()",
    "uuid.uuid4": "import uuid\nx = uuid.uuid4()",
    "threading.Thread": "import threading\nthreading.Thread(target=f).start()",
    "threading.Timer": "import threading\nthreading.Timer(1, f)",
    "threading.Lock": "import threading\nlock = threading.Lock()",
    "threading.local": "import threading\nown = threading.local()",
    "threading.get_ident": "import threading\nme = threading.get_ident()",
    "threading.current_thread": "import threading\nme = threading.current_thread()",
    "_thread.allocate_lock": "import _thread\nlock = _thread.allocate_lock()",
    "concurrent.futures.ThreadPoolExecutor": "from concurrent import futures\nfutures.ThreadPoolExecutor()",
    "multiprocessing.Process": "import multiprocessing\nmultiprocessing.Process(target=f)",
    "subprocess.run": "import subprocess\nsubprocess.run(x)",
    "queue.Queue": "import queue\nq = queue.Queue()",
    "queue.SimpleQueue": "from queue import SimpleQueue\nq: SimpleQueue[int] = SimpleQueue()",
    "selectors.DefaultSelector": "import selectors\ns = selectors.DefaultSelector()",
    "select.select": "import select\nselect.select(a, b, c)",
    "socket.socket": "import socket\ns = socket.socket()",
    "socket.socketpair": "import socket\na, b = socket.socketpair()",
    "socket.getaddrinfo": "import socket\nsocket.getaddrinfo(host, port)",
    "socket.create_connection": "import socket\nsocket.create_connection(address)",
    "asyncio.new_event_loop": "import asyncio\nloop = asyncio.new_event_loop()",
    "asyncio.run": "import asyncio\nasyncio.run(f())",
    "reactivex.scheduler.TimeoutScheduler": "from reactivex.scheduler import TimeoutScheduler as S\ns = S()",
    "reactivex.operators.debounce": "from reactivex import operators\noperators.debounce(1)",
    "id": "things.sort(key=id)",
    "hash": "order = sorted(things, key=lambda thing: hash(thing))",
}
"""What is refused, and a module that uses it."""

HIDDEN = {
    "an alias of a module": "import time as t\nnow = t.monotonic()",
    "an alias of a function": "from time import monotonic as m\nnow = m()",
    "a default argument": "import time\ndef f(clock=time.monotonic): ...",
    "a default argument by its name only": "import time\ndef f(*, clock=time.monotonic): ...",
    "a default argument of a lambda": "import time\nf = lambda clock=time.monotonic: clock()",
    "a field's default": "import time\nclass C:\n    clock: object = time.monotonic",
    "a field's factory": "import time\nclass C:\n    at: float = field(default_factory=time.monotonic)",
    "an argument": "import time\nstart(time.monotonic)",
    "another name": "import time\nnow = time.monotonic\nnow()",
    "a member of a class": "import threading\nwait = threading.Event.wait",
    "an import within a function": "def f():\n    from time import monotonic\n    return monotonic()",
    "an import for others": "from time import monotonic",
    "a star": "from time import *",
    "getattr": "import time\nnow = getattr(time, 'monotonic')()",
    "getattr by a name that is computed": "import time\nnow = getattr(time, name)()",
    "a module passed on": "import time\nstart(time)",
    "import_module": "import importlib\nnow = importlib.import_module('time').monotonic()",
    "__import__": "now = __import__('time').monotonic()",
    "a decorator": "import threading\n@with_lock(threading.Lock())\ndef f(): ...",
    "a base class": "import threading\nclass Worker(threading.Thread): ...",
    "a call among types": "import queue\nx = cast('object', queue.Queue())",
    "a scheduler that keeps reactivex's clock": (
        "from reactivex.scheduler.scheduler import Scheduler\nclass Loop(Scheduler): ..."
    ),
    "a parameter of the same name elsewhere": """
        import time
        def f(time): ...
        def g(): return time.time()
        """,
    "a nested function's own name": """
        import time
        def f():
            def g():
                time = 1
            return time.time()
        """,
}
"""Spellings that do the same."""

ORDERS = {
    "a literal": "for x in {'a', 'b'}: f(x)",
    "set(...)": "names = list(set(names))",
    "a name": "seen: set[str] = set()\nfor x in seen: f(x)",
    "an attribute": """
        class C:
            def __init__(self):
                self._seen = set()
            def f(self):
                return tuple(self._seen)
        """,
    "a parameter": "def f(seen: frozenset[str]):\n    return [x for x in seen]",
    "what a function returns": "def f() -> set[str]: ...\nx = next(iter(f()))",
    "a difference of keys": "for x in a.keys() - b: f(x)",
    "a union": "x = ','.join({'a'} | b)",
    "one of them": "x = {'a', 'b'}.pop()",
    "all of them": "f(*{'a', 'b'})",
    "a dict's keys": "x = dict.fromkeys({'a', 'b'})",
}

ALLOWED = {
    "types": """
        import queue, selectors, socket, threading
        from random import Random
        def f(thread: threading.Thread | None, chance: Random) -> socket.socket: ...
        waiting: queue.SimpleQueue[None] = runtime.queue()
        watched: dict[socket.socket, int] = {}
        is_socket = isinstance(result, socket.socket)
        Any_ = TypeVar("Any_", bound=socket.socket)
        """,
    "constants and exceptions": """
        import queue, selectors, socket, threading
        try:
            selector.register(sock, selectors.EVENT_READ)
            sock.shutdown(socket.SHUT_RDWR)
            wait(threading.TIMEOUT_MAX)
        except (queue.Empty, socket.gaierror): ...
        """,
    "a seed": "from random import Random\nchance = Random(7)",
    "a time of somebody else's": "import time\ntext = time.strftime('%H', time.localtime(at_s))",
    "a date made of a text": "from datetime import datetime\nx = datetime.fromisoformat(text)",
    "what was handed over": "def f(runtime):\n    runtime.spawn(g, 'name')\n    return runtime.monotonic()",
    "a parameter of that name": "import random\ndef f(random): return random.random()",
    "a variable of that name": "import queue\ndef f():\n    queue = deque()\n    queue.popleft()",
    "an attribute of that name": "def f(self):\n    return self.time.monotonic(), self.id, thing.hash",
    "__hash__": "class C:\n    def __hash__(self): return hash(self.key)",
    "a scheduler with its own clock": """
        from reactivex.scheduler.scheduler import Scheduler
        class Loop(Scheduler):
            @property
            def now(self): ...
        """,
    "sets without an order": """
        seen: set[str] = set()
        x = sorted(seen), len(seen), "a" in seen, any(each for each in seen), {each for each in seen}
        y = sorted(filter(None, seen)), {*seen}, seen | other
        """,
    "a name that is a list elsewhere": "seen: set[str] = set()\ndef f(seen: list[str]): return list(seen)",
}


def names_in(source):
    """Return what is refused in a module."""
    return [use.name for use in find({"module.py": dedent(source)}).get("module.py", [])]


@pytest.mark.parametrize(("name", "source"), REFUSED.items(), ids=REFUSED.keys())
def test_what_differs_from_run_to_run_is_refused(name, source):
    """A seed that failed would pass the next time, and nobody could find out why it had failed."""
    assert name in names_in(source)


@pytest.mark.parametrize("source", HIDDEN.values(), ids=HIDDEN.keys())
def test_it_is_found_in_every_spelling(source):
    """A default argument, bound when the module is imported, is what rebinding names later never reaches."""
    assert names_in(source)


@pytest.mark.parametrize("source", ORDERS.values(), ids=ORDERS.keys())
def test_the_order_of_a_set_is_refused(source):
    """Two runs of a seed would part with the hashes of texts, which differ in each process."""
    (name,) = names_in(source)
    assert name.startswith("the order of ")


@pytest.mark.parametrize(
    "compare",
    [
        "frames.received_ns >= self._session_ns",
        "last.received_ns == received_ns",
        "0 <= later.received_ns - self.received_ns <= TOGETHER_NS",
        "begun_ns + WAIT_NS < self._clock()",
        "runtime.clock() / 1000000000.0 > due_s",
        "max(at_ns, begun_ns) > until_ns",
    ],
)
def test_what_goes_by_the_wall_clock_is_refused(compare):
    """A clock that was set gave the words of an old session to the new one, and took what was new for old."""
    assert names_in(f"def f(): return {compare}") == [compare]


@pytest.mark.parametrize(
    "source",
    ["frames.read > self._reads_before", "now_s - self._begun_s > 1", "f(received_ns) or received_ns + 1"],
)
def test_a_count_and_the_monotonic_clock_are_allowed(source):
    """Nobody could say any more what came first."""
    assert names_in(f"def f(): return {source}") == []


@pytest.mark.parametrize("source", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_the_same_in_each_run_is_allowed(source):
    """A check that cries wolf is switched off."""
    assert names_in(source) == []


@pytest.mark.parametrize(
    ("call", "forgotten"),
    [
        ("Pool(carriers)", ["Pool without its runtime"]),
        ("Pool(carriers, runtime)", []),
        ("Pool(carriers, runtime=runtime)", []),
        ("Pool(**settings)", []),
        ("partial(Pool, carriers)", ["Pool without its runtime"]),
        ("pools.Pool(carriers)", ["Pool without its runtime"]),
        ("dial(host)", ["dial without its clock"]),
        ("dial(host, clock=clock)", []),
        ("needs(runtime)", []),
        ("from .takers import dial\ndial(host)", ["dial without its clock"]),
        ("from .takers import dial as d\nd(host)", ["d without its clock"]),
        ("from .others import dial\ndial(host)", []),
        ("def dial(host): ...\ndial(host)", []),
    ],
)
def test_what_is_not_handed_down_is_refused(call, forgotten):
    """What is made without it would run on the system's clock, threads and sockets beside the simulation."""
    takers = """
        class Pool:
            def __init__(self, carriers, runtime=SYSTEM): ...
        def dial(host, *, clock=None): ...
        def needs(runtime): ...
        """
    modules = {"takers.py": dedent(takers), "others.py": "def dial(): ...", "module.py": call}
    assert [use.name for use in find(modules).get("module.py", [])] == forgotten


def test_it_says_where_and_what_to_do():
    """Whoever gets it as an answer must not have to read the check."""
    found = find({"pipeline/new.py": "import time\n\nnow = time.monotonic()"})
    assert list(complain(found, {}, {})) == [
        "pipeline/new.py:3: time.monotonic: take it from the Runtime (docs/determinism.md)"
    ]


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ({"pipeline/new.py": "why"}, {}),
        ({"pipeline/": "why"}, {}),
        ({}, {"pipeline/new.py": {"time.monotonic": "why"}}),
    ],
)
def test_an_entry_allows_what_it_names_and_is_refused_when_nothing_needs_it(outside, inside):
    """An exception that outlives its cause would allow the next one unseen."""
    found = find({"pipeline/new.py": "import time\nnow = time.monotonic()"})
    assert list(complain(found, outside, inside)) == []
    (complaint,) = complain({}, outside, inside)
    assert complaint.endswith("not needed any more, take it out")


def test_an_entry_allows_nothing_else():
    """A file with one exception is still checked."""
    found = find({"pipeline/new.py": "import time\nnow = time.monotonic()\ntime.sleep(1)"})
    (complaint,) = complain(found, {}, {"pipeline/new.py": {"time.monotonic": "why"}})
    assert "time.sleep" in complaint


def test_the_product_is_clean():
    """What `make check` asks; and each exception gives a reason."""
    assert list(complain(find(read_product()))) == []
    reasons = [*OUTSIDE.values(), *(reason for names in INSIDE.values() for reason in names.values())]
    assert all(reasons)
