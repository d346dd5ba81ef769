import pytest

from pipeline import status
from tests.pool_world import HOMES, TICKERS, PoolWorld, up


def test_each_ticker_starts_on_its_own_connection():
    """The settings say what goes where; nothing may move without a reason."""
    world = PoolWorld()
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    world.run(120)
    assert not world.of(status.Moved)


def test_a_connection_that_is_back_in_time_keeps_its_tickers():
    """A hiccup of a second is no reason to move a hundred tickers there and back."""
    world = PoolWorld()
    world.kill("c1")
    world.run(1)
    world.revive("c1")
    world.run(60)
    assert not world.of(status.Moved)
    assert world.held()["c1"] == {"A", "B"}
    assert world.told_of() == [("c1", "A"), ("c1", "B")]


def test_a_dead_connection_s_tickers_flow_elsewhere_after_two_seconds():
    """A third of the market dark until lunch is what a dead socket costs other clients."""
    world = PoolWorld()
    world.run(5)
    dead_ns = world.now_ns
    world.kill("c1")
    world.run(1.9)
    assert not world.of(status.Moved)
    world.run(0.2)
    held = world.held()
    assert held["c2"] | held["c3"] == set(TICKERS)
    assert {ticker for event in world.of(status.Moved) for ticker in event.tickers} == {"A", "B"}
    assert {event.source for event in world.of(status.Moved)} == {"c1"}
    world.run(3)
    assert world.told_of() == [("c1", "A"), ("c1", "B")]
    assert all(gap.from_ns < dead_ns and gap.to_ns > dead_ns + 2e9 for _, _, gap in world.told())


def test_they_come_home_when_it_is_stable_and_overlap_on_the_way():
    """Make before break: no tick is lost by coming home, the copies are taken out by dedupe."""
    world = PoolWorld()
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.run(1)
    assert world.held()["c1"] == set()
    world.run(2)
    held = world.held()
    assert held["c1"] == {"A", "B"}
    assert held["c2"] | held["c3"] == set(TICKERS)
    world.run(3)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    assert [e.reason for e in world.of(status.Moved) if e.connection == "c1"] == ["return"] * 2


def test_they_stay_away_if_coming_home_is_switched_off():
    """WEBSOCKET_AUTO_REBALANCE=false: every move costs something, some want none that is not needed."""
    world = PoolWorld(auto_rebalance=False)
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.run(60)
    assert world.held()["c1"] == set()
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


def test_nothing_moves_if_failover_is_switched_off():
    """WEBSOCKET_FAILOVER_ENABLED=false: the old behaviour."""
    world = PoolWorld(failover=False)
    world.kill("c1")
    world.run(60)
    assert not world.of(status.Moved)
    world.revive("c1")
    world.run(5)
    assert world.held()["c1"] == {"A", "B"}


def test_all_down_and_one_back_carries_everything():
    """After a network outage the first socket that comes up must not wait for the others."""
    world = PoolWorld()
    for name in HOMES:
        world.kill(name)
    world.run(30)
    world.revive("c2")
    world.run(3)
    assert world.held()["c2"] == set(TICKERS)
    for name in HOMES:
        world.revive(name)
    world.run(30)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}


def test_a_refused_key_on_one_connection_moves_its_tickers_at_once():
    """What will never come back needs no waiting."""
    world = PoolWorld()
    world.wires["c1"].status("auth_failed", "revoked")
    world.run(0.1)
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


def test_the_old_place_is_kept_until_the_new_one_is_sure():
    """If the new place never confirms, the ticker must not fall between the two."""
    world = PoolWorld()
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.confirms = False
    world.run(8)
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


@pytest.mark.parametrize("later", ["allowed", "down", "home"])
def test_the_old_place_is_kept_where_the_new_one_refuses(later):
    """A ticker was given back where it flowed, for a place where it is not authorized: it flowed no more."""
    world = PoolWorld({"c1": ("A", "B"), "c2": ("C",)})
    world.tick_for(2, "A", "B", "C")
    world.refused = {"c2": {"T.A"}}
    world.pool.move_ticker("A", "c2")
    world.pool.move_ticker("B", "c2")
    world.tick_for(15, "A", "B", "C")
    assert world.of(status.Refused)[0].channels == ("T.A",)
    assert world.held() == {"c1": {"A"}, "c2": {"B", "C"}}
    if later == "home":
        world.pool.move_ticker("A", "c1")
    else:
        world.refused = {} if later == "allowed" else world.refused
        world.kill("c2")
        world.tick_for(1, "A", "B", "C")
        world.revive("c2")
    world.tick_for(15, "A", "B", "C")
    assert world.held() == (
        {"c1": set(), "c2": {"A", "B", "C"}} if later == "allowed" else {"c1": {"A"}, "c2": {"B", "C"}}
    )
    assert not [gap for _, _, gap in world.told() if gap.channel == "T.A"]
    check_books(world)


def test_what_both_places_refuse_holds_up_no_move():
    """It would be carried twice for ever, and the rest of its ticker with it."""
    world = PoolWorld({"c1": ("A", "B"), "c2": ("C",)})
    world.refused = {"c1": {"T.A"}, "c2": {"T.A"}}
    world.wires["c1"].end(1006)
    world.tick_for(15, "B", "C")
    world.pool.move_ticker("A", "c2")
    world.tick_for(15, "B", "C")
    assert world.of(status.Refused)[-1].connection == "c2"
    assert world.connections["c1"].snapshot().refused == 0


def test_redundant_tickers_lose_nothing_and_say_so():
    """A/B arbitration: a ticker that also flows over another socket has no gap to announce."""
    world = PoolWorld(redundant=frozenset({"A"}))
    assert sum("A" in held for held in world.held().values()) == 2
    world.kill("c1")
    world.run(10)
    assert world.told_of() == [("c1", "B")]


def test_tickers_added_and_removed_at_run_time():
    """A watchlist changes during the day; what is added while all are down flows when one returns."""
    world = PoolWorld()
    world.pool.add_tickers(["G", "A"])
    world.run(1)
    assert sum("G" in held for held in world.held().values()) == 1
    world.pool.remove_tickers(["A", "G"])
    world.run(1)
    assert set().union(*world.held().values()) == set(TICKERS) - {"A"}
    for name in HOMES:
        world.kill(name)
    world.run(10)
    world.pool.add_tickers(["H"])
    world.pool.remove_tickers(["C"])
    for name in HOMES:
        world.revive(name)
    world.run(30)
    assert set().union(*world.held().values()) == set(TICKERS) - {"A", "C"} | {"H"}
    assert {t for its in world.pool.tickers().values() for t in its} == set(TICKERS) - {"A", "C"} | {"H"}


def test_nothing_moves_after_dispose():
    """A stream that closes its connections must not see their tickers fail over."""
    world = PoolWorld()
    world.pool.dispose()
    world.kill("c1")
    world.run(30)
    assert not world.of(status.Moved)


@pytest.mark.parametrize("strategy", ["round-robin", "hash", "load-balanced", "priority"])
def test_every_strategy_fails_over_and_comes_home(strategy):
    """The strategy is the user's choice; that no ticker is lost is ours."""
    world = PoolWorld(strategy=strategy)
    before = world.held()
    world.kill("c3")
    world.run(10)
    assert set().union(*(world.held()[name] for name in ("c1", "c2"))) == set(TICKERS)
    world.revive("c3")
    world.run(30)
    after = world.held()
    assert set().union(*after.values()) == set(TICKERS)
    assert {name: len(its) for name, its in after.items()} == {name: len(its) for name, its in before.items()}


@pytest.mark.parametrize("newest_goes", [True, False])
def test_an_account_with_fewer_places_is_shrunk_to(newest_goes):
    """Three configured and one allowed: everything flows over one, and nobody fights all day."""
    world = PoolWorld(limit=1, newest_goes=newest_goes)
    world.run(5)
    (left,) = up(world)
    assert world.held()[left] == set(TICKERS)
    assert sum(world.dials.values()) == 3
    last = world.of(status.Crowded)[-1]
    assert (last.places, last.other_program, last.next_try_s) == (1, False, 60.0)
    assert "allows 1 of our connections" in last.describe()
    world.run(54)
    assert sum(world.dials.values()) == 3
    world.run(10)
    assert sum(world.dials.values()) == 4, "one may try after a minute"
    world.run(280)
    assert sum(world.dials.values()) == 4
    world.run(40)
    assert sum(world.dials.values()) == 5, "the next after five minutes"
    world.run(24 * 3600)
    (left,) = up(world)
    assert world.held()[left] == set(TICKERS)
    if newest_goes:
        assert {e.connection for e in world.of(status.Crowded)} == {"c1", "c2", "c3"} - {left}
        assert all(event.next_try_s == 300.0 for event in world.of(status.Crowded)[2:])
    else:
        assert sum(world.dials.values()) == 5, "each try cost a sibling its place, so there are no more"
        assert world.of(status.Crowded)[-1].next_try_s is None
        assert world.of(status.Crowded)[-1].by is not None
        assert "only when asked for" in world.of(status.Crowded)[-1].describe()


def test_a_place_that_becomes_free_is_taken_again():
    """A colleague's notebook held one place over lunch: in the afternoon all three are ours again."""
    world = PoolWorld(limit=3)
    world.run(100)
    world.limit = 2
    world.wires["c2"].evict()
    world.run(3)
    (crowded,) = world.of(status.Crowded)
    assert (crowded.places, crowded.by, crowded.other_program) == (2, None, True)
    assert "another program uses the same key" in crowded.describe()
    held = world.held()
    assert held["c1"] | held["c3"] == set(TICKERS)
    world.limit = 3
    world.run(70)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    assert len(world.of(status.Crowded)) == 1


def test_two_that_were_evicted_try_one_after_the_other():
    """Two at once would be one too many again."""
    world = PoolWorld(limit=1, newest_goes=True)
    world.run(5)
    world.limit = 3
    world.run(60)
    assert len(up(world)) == 2
    world.run(50)
    assert len(up(world)) == 2, "the first has a minute to prove that there is room"
    world.run(20)
    assert len(up(world)) == 3
    world.run(20)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}


def test_the_only_connection_comes_back_whatever_it_costs():
    """With one connection there is no sibling to evict: another program's has to go, a minute later."""
    world = PoolWorld({"c1": ("A",)})
    for delay_s in (60, 300, 300, 300):
        world.wires["c1"].evict()
        world.run(1)
        assert not up(world)
        assert world.of(status.Crowded)[-1].next_try_s == delay_s
        assert "none of our connections" in world.of(status.Crowded)[-1].describe()
        world.run(delay_s)
        assert up(world) == {"c1"}


def test_asked_for_it_tries_at_once():
    """The operator has closed the other program and does not want to wait for five minutes."""
    world = PoolWorld(limit=1, newest_goes=True)
    world.run(5)
    world.limit = 3
    for name in {"c1", "c2", "c3"} - up(world):
        world.pool.reconnect(name)
    world.run(5)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    with pytest.raises(ValueError, match="c1, c2, c3, not 'c9'"):
        world.pool.reconnect("c9")


def test_a_busy_connection_gives_some_of_its_tickers_away():
    """At the open one of three sockets carries ten times the others: it is late, they idle."""
    world = PoolWorld(strategy="load-balanced")
    world.rates = {"A": 500.0, "B": 400.0, "C": 10.0, "D": 10.0, "E": 10.0, "F": 10.0}
    world.run(59)
    assert not world.of(status.Moved), "one check may be a blip"
    before = world.held()
    busy = next(name for name, its in before.items() if "A" in its)
    world.run(5)
    after = world.held()
    if "B" in before[busy]:
        assert not any({"A", "B"} <= its for its in after.values())
    assert {event.reason for event in world.of(status.Moved)} == {"rebalance"}
    assert set().union(*after.values()) == set(TICKERS)
    moves = len(world.of(status.Moved))
    world.run(3600)
    assert len(world.of(status.Moved)) == moves, "once even, it stays"


@pytest.mark.parametrize("policy", [{"auto_rebalance": False}, {"strategy": "manual"}, {"strategy": "hash"}])
def test_tickers_stay_where_the_user_or_the_strategy_wants_them(policy):
    """WEBSOCKET_AUTO_REBALANCE=false, or a strategy whose promise is that nothing moves."""
    world = PoolWorld(**({"strategy": "load-balanced"} | policy))
    world.rates = {"A": 500.0, "B": 400.0, "C": 1.0, "D": 1.0, "E": 1.0, "F": 1.0}
    world.run(600)
    assert not world.of(status.Moved)


def test_a_blip_moves_nothing():
    """One check's burst is over at the next: moving for it costs more than it gives."""
    world = PoolWorld(strategy="load-balanced")
    for check in range(10):
        even = dict.fromkeys(TICKERS, 10.0)
        world.rates = even | ({"A": 300.0, "B": 300.0} if check % 2 else {})
        world.run(30)
    assert not world.of(status.Moved)


def test_rebalancing_by_hand_tells_what_moved():
    """A button that says nothing leaves the operator guessing whether it worked."""
    world = PoolWorld(strategy="load-balanced")
    world.rates = {"A": 500.0, "B": 400.0, "C": 10.0, "D": 10.0, "E": 10.0, "F": 10.0}
    told = []
    world.pool.rebalance(told.append)
    world.run(3)
    ((*moves,),) = told
    assert moves == world.of(status.Moved)
    assert moves
    world.pool.rebalance(told.append)
    world.run(1)
    assert told[1] == ()


def test_a_ticker_moved_by_hand_stays_there():
    """What an operator moved must not be back after the next failover; while its place is down it flows."""
    world = PoolWorld()
    world.pool.move_ticker("A", "c3")
    world.run(1)
    assert "A" in world.held()["c1"] & world.held()["c3"], "first the new place, then the old one"
    world.run(3)
    assert world.held()["c3"] == {"A", "E", "F"}
    assert world.held()["c1"] == {"B"}
    world.kill("c3")
    world.run(5)
    assert "A" in world.held()["c1"] | world.held()["c2"]
    world.revive("c3")
    world.run(10)
    assert world.held()["c3"] == {"A", "E", "F"}
    world.pool.move_ticker("NEW", "c2")
    world.run(1)
    assert "NEW" in world.held()["c2"]
    world.pool.remove_tickers(["A"])
    world.pool.add_tickers(["A"])
    world.run(5)
    assert "A" in world.held()["c1"], "removed and added again, it is where it belongs"
    with pytest.raises(ValueError, match="must be one of c1, c2, c3, not 'nowhere'"):
        world.pool.move_ticker("A", "nowhere")


def test_what_fits_nowhere_is_told():
    """Two sockets die and the third is full: whoever trades the rest must know that nothing comes."""
    world = PoolWorld(max_tickers=3)
    assert not world.of(status.Unplaced)
    world.kill("c1")
    world.kill("c2")
    world.run(5)
    told = world.of(status.Unplaced)[-1].tickers
    assert set(told) == set(TICKERS) - world.held()["c3"]
    assert len(told) == 3
    world.revive("c1")
    world.revive("c2")
    world.run(10)
    assert world.of(status.Unplaced)[-1].tickers == ()
    assert world.held() == {name: set(home) for name, home in HOMES.items()}


def test_waiting_ends_when_every_connection_is_decided():
    """`connect` must not wait 15 s for a connection that the server has sent away."""
    assert PoolWorld().pool.wait_connected(0) == ("c1", "c2", "c3")
    world = PoolWorld(limit=1, newest_goes=True)
    world.run(1)
    assert world.pool.wait_connected(60) == tuple(up(world))


def test_waiting_ends_with_the_stream():
    """A program that closes its stream while another thread waits for it must not hang."""
    world = PoolWorld(down=("c1", "c2"))
    assert world.pool.wait_connected(0) == ("c3",)
    world.pool.dispose()
    assert world.pool.wait_connected(60) == ("c3",)


ALL = {"c1": ("*", "A"), "c2": ("C",), "c3": ("E",)}


def test_the_wildcard_fails_over_and_its_gap_ends_when_it_is_confirmed():
    """All symbols of a market would be dark with one socket, or their gap never be told to be over."""
    world = PoolWorld(ALL)
    world.run(5)
    world.kill("c1")
    world.run(2.5)
    held = world.held()
    assert sum("*" in its for its in held.values()) == 1
    world.run(3)
    assert world.told_of() == [("c1", "*"), ("c1", "A")]
    assert {"*"} <= {ticker for event in world.of(status.Moved) for ticker in event.tickers}
    world.revive("c1")
    world.run(10)
    assert world.held() == {name: set(home) for name, home in ALL.items()}


def test_what_goes_on_over_a_wildcard_misses_nothing():
    """Whoever fills the gaps would fetch what came over the wildcard all the time."""
    world = PoolWorld(ALL)
    world.run(5)
    world.kill("c2")
    world.run(5)
    assert not world.told()
    world.kill("c1")
    world.run(5)
    assert world.told_of() == [("c1", "*"), ("c1", "A"), ("c1", "C")]


def test_load_never_moves_the_wildcard():
    """All symbols would be subscribed to elsewhere, again and again, each time both sockets at full load."""
    world = PoolWorld(
        {"c1": ("*", "A", "B"), "c2": ("C",), "c3": ()}, strategy="load-balanced", check_every_s=10
    )
    world.rates = {f"X{number}": 50.0 for number in range(100)} | dict.fromkeys("ABC", 10.0)
    world.run(300)
    assert "*" in world.held()["c1"]
    assert not any("*" in event.tickers for event in world.of(status.Moved))
    moves = len(world.of(status.Moved))
    world.run(300)
    assert len(world.of(status.Moved)) == moves


def test_it_is_added_moved_and_removed_like_a_ticker():
    """Who wants all symbols for an hour would have to restart."""
    world = PoolWorld({"c1": ("A",), "c2": ("C",)})
    world.pool.add_tickers(["*"])
    world.run(3)
    (home,) = [name for name, its in world.held().items() if "*" in its]
    other = {"c1": "c2", "c2": "c1"}[home]
    world.pool.move_ticker("*", other)
    world.run(3)
    assert [name for name, its in world.held().items() if "*" in its] == [other]
    world.pool.remove_tickers(["*", "ZZZ"])
    world.run(3)
    assert world.held() == {"c1": {"A"}, "c2": {"C"}}
    (told,) = world.of(status.TickersNotCarried)
    assert told.tickers == ("ZZZ",)


def check_books(world):
    """Let all be found out, and hold what was told against what the servers made."""
    wanted = dict.fromkeys(ticker for its in world.pool.tickers().values() for ticker in its)
    for quiet_s in (5, 60, 3):
        world.run(quiet_s)
        world.tick_for(1, *wanted)
    world.run(3)
    assert not world.undeclared()
    assert not world.inside()


def test_a_lost_acknowledgement_hides_no_later_outage():
    """All outages after one channel's lost acknowledgement went untold: 19,160 of 20,840 ids."""
    world = PoolWorld()
    world.unanswered = {"T.B"}
    world.wires["c1"].end(1006)
    world.run(1)
    world.tick_for(1, *TICKERS)
    for _ in range(3):
        world.wires["c1"].end(1006)
        world.tick_for(2, *TICKERS)
    check_books(world)
    assert {gap.channel for _, _, gap in world.told()} == {"T.A", "T.B"}
    assert not world.gaps.watched


def test_an_unanswered_channel_hides_no_outage_of_the_others():
    """With an event type that the server does not know every outage after the first went untold."""
    world = PoolWorld()
    world.unanswered = {"T.B"}
    world.tick_for(1, *TICKERS)
    for _ in range(2):
        world.wires["c1"].end(1006)
        world.run(1)
        world.tick_for(1, "A", "C")
        world.run(30)
    assert sum(gap.channel == "T.A" for _, _, gap in world.told()) == 2
    check_books(world)


@pytest.mark.parametrize("half", [False, True])
def test_both_ends_of_a_move_may_die_while_it_overlaps(half):
    """Within the two seconds that a ticker is on both, neither end alone was its place."""
    world = PoolWorld()
    world.tick_for(1, *TICKERS)
    world.pool.move_ticker("A", "c2")
    world.run(0.5)
    world.tick_for(0.3, *TICKERS)
    for name in ("c2", "c1"):
        world.down.add(name)
        if half:
            world.wires[name].half = True
        else:
            world.wires[name].end(1006)
        world.tick_for(0.2, *TICKERS)
    world.tick_for(50 if half else 1, *TICKERS)
    for name in ("c2", "c1"):
        world.revive(name)
    check_books(world)
    assert "T.A" in {gap.channel for _, _, gap in world.told()}


@pytest.mark.parametrize("how", ["half", "mute"])
def test_a_ticker_moved_off_a_dead_socket_is_missed(how):
    """Its death is found out when the ticker is long elsewhere: 386 of 386 ids went untold."""
    world = PoolWorld()
    world.tick_for(160, *TICKERS, every_s=1.0)
    setattr(world.wires["c1"], how, True)
    world.tick_for(15, *TICKERS, every_s=0.5)
    world.pool.move_ticker("A", "c2")
    world.tick_for(90, *TICKERS, every_s=1.0)
    check_books(world)
    gaps = [gap for _, _, gap in world.told() if gap.channel == "T.A"]
    assert max(gap.to_ns - gap.from_ns for gap in gaps) > 14e9


def test_a_mute_socket_that_is_emptied_is_found_out():
    """It answers for ever, and no tick of it is awaited any more."""
    world = PoolWorld({"c1": ("A",), "c2": ("C",)})
    world.tick_for(20, "A", "C", every_s=0.5)
    world.wires["c1"].mute = True
    world.tick_for(15, "A", "C", every_s=0.5)
    world.pool.move_ticker("A", "c2")
    world.tick_for(10, "A", "C", every_s=0.5)
    assert [(connection, reason, gap.channel) for connection, reason, gap in world.told()] == [
        ("c1", "stale", "T.A")
    ]
    check_books(world)


def test_a_channel_that_is_refused_where_it_failed_over_to_stays_missing():
    """Its gap was told to be over with the refusal, and it never flowed again."""
    world = PoolWorld({"c1": ("A",), "c2": ("C",)})
    world.tick_for(1, "A", "C")
    world.unanswered = {"T.A"}
    world.kill("c1")
    world.run(2.1)
    world.wires["c2"].held.discard("T.A")
    world.wires["c2"].status("error", "not authorized")
    world.tick_for(10, "A", "C")
    assert world.of(status.Refused)[0].channels == ("T.A",)
    assert not [gap for _, _, gap in world.told() if gap.channel == "T.A"]
    world.unanswered = set()
    world.revive("c1")
    check_books(world)


def test_a_channel_that_ticks_was_not_the_refused_one():
    """Its acknowledgement was lost, and a refusal names nobody: a gap was told from each tick to the next."""
    world = PoolWorld({"c1": ("A", "B")})
    world.unanswered = {"T.A"}
    world.tick_for(1, "A", "B")
    world.kill("c1")
    world.revive("c1")
    world.run(1.1)
    world.wires["c1"].status("error", "not authorized")
    world.tick_for(20, "A", "B", every_s=0.5)
    assert world.of(status.Refused)[0].channels == ("T.A",)
    assert [reason for _, reason, gap in world.told() if gap.channel == "T.A"] == ["disconnected"]
    check_books(world)


def test_moves_between_living_connections_tell_nothing():
    """Each rebalance would have its tickers fetched from another source."""
    world = PoolWorld()
    world.tick_for(1, *TICKERS)
    for name in ("c2", "c3", "c1"):
        for ticker in TICKERS:
            world.pool.move_ticker(ticker, name)
        world.tick_for(4, *TICKERS)
    world.run(100)
    world.pool.move_ticker("A", "c2")
    world.run(10)
    world.tick_for(1, *TICKERS)
    world.gaps.flush()
    assert not world.told()
    assert not world.undeclared()


def test_a_clock_that_is_set_moves_no_gap():
    """A clock 2.6 s behind ended a gap 2.6 s early, and what was lost then lay outside."""
    world = PoolWorld({"c1": ("A", "B"), "c2": ("C",)})
    world.tick_for(10, "A", "B", "C")
    world.wrong_s = -2.6
    world.kill("c1")
    world.tick_for(1.5, "A", "B", "C")
    world.revive("c1")
    world.tick_for(8, "B", "C")
    check_books(world)
