"""What the tests of TickStock's faces share: callbacks that remember, and a configuration like its own."""

import threading
from collections import defaultdict

from tests.conftest import wait_until

KEY = "the-key-of-the-simulator"
TICKERS = [f"S{number}" for number in range(9)]
FOREIGN = {  # TickStock's configuration has some 200 keys; these are those that look most like ours
    "APP_DEBUG": False,
    "REDIS_HOST": "localhost",
    "REDIS_PORT": 6379,
    "REDIS_URL": "",
    "REDIS_ERROR_CHANNEL": "tickstock:errors",
    "SYMBOL_UNIVERSE_KEY": "stock_etf_test:combo_test",
    "SYNTHETIC_UNIVERSE": "market_leaders:top_500",
    "SYNTHETIC_DATA_RATE": 0.1,
    "UPDATE_INTERVAL": 0.5,
    "WEBSOCKET_CONNECTION_POOL_SIZE": 3,
    "WEBSOCKET_CONNECTION_TIMEOUT": 15,
    "WEBSOCKET_SUBSCRIPTION_BATCH_SIZE": 50,
    "WEBSOCKET_PER_SECOND_ENABLED": True,
    "WEBSOCKET_HEALTH_CHECK_INTERVAL": 30,
    "MASSIVE_WEBSOCKET_MAX_RECONNECT_DELAY": 60,
    "MASSIVE_WEBSOCKET_MAX_RETRIES": 5,
    "TICKSTOCKPL_API_KEY": "another key",
    "MAX_QUEUE_SIZE": 100000,
    "ACTIVE_DATA_PROVIDERS": ["massive"],
    "LOG_FILE_PATH": None,
}


def config_of(simulator, **more):
    """Return TickStock's configuration for one connection to a simulator."""
    return {
        **FOREIGN,
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_WEBSOCKET_URL": simulator.url,
        "MASSIVE_EVENT_TYPES": "T,Q",
        "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.05,
        "MASSIVE_WEBSOCKET_MAX_RECONNECT_DELAY": 0.1,
        "MASSIVE_WEBSOCKET_MAX_RETRIES": 0,
    } | more


def many_of(simulator, *symbols, **more):
    """Return TickStock's configuration for as many connections as lists of symbols are given."""
    config = {"USE_MULTI_CONNECTION": True, "WEBSOCKET_CONNECTIONS_MAX": 3}
    for number, its_symbols in enumerate(symbols, start=1):
        config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
        config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = ",".join(its_symbols)
    return config_of(simulator, **(config | more))


class Heard:
    """Remembers what the callbacks were given, and on which threads."""

    def __init__(self):
        self.ticks = []
        self.statuses = []
        self.threads = set()
        self.at_once = 0
        self.most_at_once = 0

    def tick(self, tick):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.threads.add(threading.current_thread().name)
        self.ticks.append(tick)
        self.at_once -= 1

    def status(self, word, data):
        self.statuses.append((word, data))

    def words(self):
        return [word for word, _ in list(self.statuses)]

    def tickers(self):
        return {tick.ticker for tick in list(self.ticks)}

    def by_ticker(self):
        found = defaultdict(list)
        for tick in list(self.ticks):
            found[tick.ticker].append(tick)
        return found

    def wait_for_ticks(self, count=1):
        """Wait until so many more ticks have come than now."""
        before = len(self.ticks)
        wait_until(lambda: len(self.ticks) >= before + count, 10, f"{count} ticks")

    def wait_for_tickers(self, tickers):
        """Wait until each of these has had a tick from now on."""
        wanted = set(tickers)
        before = len(self.ticks)
        wait_until(lambda: wanted <= {t.ticker for t in self.ticks[before:]}, 10, f"ticks of {wanted}")

    def wait_for_word(self, word, count=1):
        wait_until(lambda: self.words().count(word) >= count, 10, f"{count} times {word}")


def held(simulator):
    """Return the tickers that clients hold, by client number."""
    return {c.client: {name.partition(".")[2] for name in c.channels} for c in simulator.report().clients}
