"""A buffer between a source and a recorder, which delivers by hand."""

from operators.buffered import BufferAccounting, buffered
from tests.operators.fakes import ByHand, FakeBatch, Recorder, Source


class Stage:
    """A source, a buffer with a scheduler that runs by hand, and what comes out."""

    def __init__(self, capacity, overflow="drop_oldest", on_item=lambda item: None, **options):
        self.source, self.scheduler, self.gauge = Source(), ByHand(), BufferAccounting()
        self.recorder, self.drops = Recorder(on_item), []
        options.setdefault("on_drop", self.drops.append)
        options.setdefault("scheduler", self.scheduler)
        stream = self.source.pipe(buffered(capacity, overflow, gauge=self.gauge, **options))
        self.subscription = stream.subscribe(self.recorder)

    def emit(self, *ticks, connection="a", received_ns=0, **counts):
        self.source.emit(FakeBatch(list(ticks), connection, received_ns, **counts))

    @property
    def out(self):
        return [batch.ticks for batch in self.recorder.items]

    @property
    def account(self):
        (account,) = self.gauge.accounts().values()
        assert account.imbalance == 0
        return account
