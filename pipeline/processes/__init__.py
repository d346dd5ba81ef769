"""One process a connection: each has its whole pipeline, its sinks and the user's callback.

::

    parent: pool, status, health                     child of connection_1
    ┌──────────────────────────────┐  orders   ┌──────────────────────────────────────────────┐
    │ ChildConnection ─ Child ─────┼──────────►│ io ─► decode ─► dedupe ─► stamp ─┬► callback │
    │ (a carrier of the pool)      │◄──────────┤                                  ├► Redis    │
    │                              │  events,  │                                  │           │
    │                              │  reports  │                                  │           │
    │ ColumnFeed ─► stream.columns │◄──────────┼──────────────────────────────────┴► columns  │
    └──────────────────────────────┘  Arrow    └──────────────────────────────────────────────┘
"""
