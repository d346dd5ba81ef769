"""An ingest buffer with what stands before and behind it, for the tests of it."""

from dataclasses import replace

from reactivex import Subject
from reactivex.scheduler import VirtualTimeScheduler

from operators.runtime import SYSTEM
from pipeline.massive.frames import Frames
from pipeline.massive.ingest import Ingest
from pipeline.massive.patience import Patience

ELEMENT = b'{"ev":"T"}'


class Bench:
    """An ingest buffer between a source and a pipeline, in virtual time."""

    def __init__(self, capacity_bytes=1000, *, blocks=False, patience_bytes=2**60, max_age_ns=None):
        self.scheduler = VirtualTimeScheduler(0.0)
        self.drops = []
        self.ready = True
        self.held = []
        self.now_ns = 99
        self.at_s = 0.0
        self.ingest = Ingest(
            capacity_bytes,
            self.scheduler,
            lambda *a: self.drops.append(a),
            lambda: self.ready,
            max_age_ns=lambda: max_age_ns,
            blocks=lambda: blocks,
            patience=Patience(patience_bytes),
            hold=self.held.append,
            runtime=replace(SYSTEM, clock=lambda: self.now_ns, monotonic=lambda: self.at_s),
        )
        self.source = Subject()
        self.out = []
        self.completed = 0
        self.offered = {}

        def completed():
            self.completed += 1

        self.subscription = self.source.pipe(self.ingest).subscribe(self.out.append, on_completed=completed)

    def offer(self, connection, elements, at_ns=1, size_bytes=0):
        message = b"[" + b",".join([ELEMENT] * elements) + b"]"
        self.offered[connection] = self.offered.get(connection, 0) + elements
        self.source.on_next(Frames(connection, at_ns, [message], size_bytes or len(message)))

    def run(self):
        self.scheduler.advance_by(1)

    def arrived(self, connection):
        """Elements that came out, and those declared lost."""
        frames = [f for f in self.out if f.connection == connection]
        return sum(f.count_elements() for f in frames), sum(f.lost for f in frames)
