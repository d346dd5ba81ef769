"""The shape of the API's answers, for OpenAPI; what health tells beyond it is answered too."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AccountAnswer",
    "Connection",
    "Connections",
    "Health",
    "Live",
    "Problem",
    "Ready",
    "Rebalanced",
    "Reconnecting",
    "Tickers",
]

_Id = Annotated[str, Field(description="id of the connection", examples=["connection_1"])]


class _Open(BaseModel):
    """Lets through what is not listed: health may tell more than is promised."""

    model_config = ConfigDict(extra="allow")


class Problem(BaseModel):
    """Is what went wrong, in one sentence (RFC 9457)."""

    type: str = Field(description="always about:blank: the status says what kind it is")
    title: str = Field(description="in short")
    status: int = Field(description="as of HTTP")
    detail: str = Field(description="in one sentence")


class Live(BaseModel):
    """Tells whether the process turns."""

    ok: bool
    reasons: list[str] = Field(description="why it does not")


class Check(BaseModel):
    """Is one of the things that have to be well."""

    name: str
    ok: bool
    words: str = Field(description="how it is, in words")


class Ready(Live):
    """Tells whether ticks can come and go."""

    checks: list[Check] | None = Field(None, description="each check, where `verbose` asks for it")


class Percentiles(_Open):
    """Is a latency, ms."""

    p50: float
    p99: float


class Connection(_Open):
    """Tells how one connection is doing; counts are since the start."""

    id: _Id
    name: str = Field(description="for people")
    url: str
    phase: str = Field(
        description="idle, connecting, greeting, authenticating, live, backing_off, held (evicted), failed or"
        " closed"
    )
    tickers: int = Field(description="how many it is to carry by name")
    all_symbols: bool = Field(description="it carries `*`: every symbol of its market")
    confirmed: int = Field(description="channels that the server confirmed")
    pending: int = Field(description="channels not yet confirmed")
    refused: int = Field(description="channels that the server refused")
    unanswered: int = Field(description="channels that the server did not answer for")
    messages: int = Field(description="messages received")
    received_bytes: int
    connects: int = Field(description="sockets opened")
    reconnects: int = Field(description="sockets opened after the first")
    disconnects: int = Field(description="sessions and attempts that ended unasked")
    evictions: int = Field(description="sent away since there were too many")
    rejected: int = Field(description="elements that were no tick")
    ticks: int = Field(description="duplicates not counted")
    ticks_per_s: float = Field(description="of the last five full seconds")
    queued: int = Field(description="elements that wait undecoded")
    stale: bool = Field(description="no ticks come though it is connected")
    last_message_age_s: float | None = Field(description="null before the first")
    last_trouble: str | None = Field(description="why its last session ended")
    latency_ms: Percentiles = Field(description="from the event's time until received, without bars")
    bars_latency_ms: Percentiles = Field(
        description="from the end of a bar until it came for the first time; Massive sends a second bar 2 s"
        " after its second on purpose"
    )


class Totals(_Open):
    """Adds up all connections."""

    connections: int
    connected: int = Field(description="authenticated")
    tickers: int = Field(description="carried by name, each counted once")
    all_symbols: bool = Field(description="a connection carries `*`")
    ticks: int
    ticks_per_s: float
    errors: int
    reconnects: int
    queued: int


class Connections(BaseModel):
    """Tells how all connections are doing."""

    state: str = Field(description="of the stream: idle, running or closed")
    totals: Totals
    connections: list[Connection]


class Tickers(BaseModel):
    """Lists what a connection is to carry."""

    connection: _Id
    count: int = Field(description="of those that are named")
    all_symbols: bool = Field(description="it carries `*`: every symbol of its market")
    tickers: list[str]


class Move(BaseModel):
    """Tells what one connection took over from another."""

    connection: _Id
    source: _Id
    tickers: list[str]


class Rebalanced(BaseModel):
    """Tells what moved."""

    count: int = Field(description="tickers that moved")
    moved: list[Move]


class Reconnecting(BaseModel):
    """Names the connection that was told to begin a new session."""

    connection: _Id


class Balance(BaseModel):
    """Is the conservation law: received is the sum of the others, and imbalance is 0."""

    received: int
    delivered: int
    deduplicated: int
    dropped: int
    failed: int = Field(description="its code raised, or its server refused")
    rejected: int
    queued: int
    imbalance: int = Field(description="elements that are nowhere: 0, or there is a defect")


class SubscriberAccount(BaseModel):
    """Is the account of one subscriber."""

    total: Balance
    connections: dict[str, Balance] = Field(description="by connection id")


class AccountAnswer(BaseModel):
    """Tells where every received element is."""

    balanced: bool = Field(description="imbalance is 0")
    imbalance: int = Field(description="of all subscribers and connections, added up without signs")
    subscribers: dict[str, SubscriberAccount] = Field(description="by name")


class Subscriber(_Open):
    """Tells how one subscriber is doing."""

    overflow: str = Field(description="what happens when its buffer is full")
    ended: bool = Field(description="nothing more comes to it")
    account: Balance
    dropped: dict[str, int] = Field(description="ticks by reason")
    errors: int = Field(description="exceptions that came out of it")
    last_error: str | None = Field(description="why ticks failed the last time")


class Health(_Open):
    """Is what `stream.health()` returns."""

    state: str = Field(description="idle, running or closed")
    totals: Totals
    connections: list[Connection]
    rejected: dict[str, int] = Field(description="elements by reason")
    unreadable: dict[str, int] = Field(description="fields that ticks are without, as T.conditions")
    subscribers: dict[str, Subscriber] = Field(description="by name")
    latency_ms: dict[str, dict[str, Percentiles]] = Field(description="by stage, and connection or sink")
