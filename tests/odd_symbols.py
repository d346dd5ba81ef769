"""Strategies that draw symbols as the feed has them, and what stands in lists of symbols and is none."""

import string

from hypothesis import strategies as st

ALPHABET = string.ascii_letters + string.digits + ".:/_+=&#@-"
MASSIVE = [
    "BACpL", "ABCw", "ABCrw", "BRK.B", "X:BTC-USD", "C:EUR/USD", "EUR/USD", "EUR-USD", "O:SPY251219C00650000",
    "I:SPX", "ESZ6", "aapl", "TRUE", "1E5", "007",
]  # fmt: skip
"""Symbols of each market, in every shape that they have."""
SYMBOLS = st.sampled_from(MASSIVE) | st.builds(
    str.__add__, st.sampled_from(string.ascii_letters + string.digits), st.text(ALPHABET, max_size=31)
)
ODD_TEXTS = st.sampled_from(
    ["^VIX", "$SPX", ".DJI", "BF B", "AA*", "**", "A" * 33, "-A", "A;B", "A\x1b[2J", "\u0410APL", '"A"']
)  # fmt: skip
"""Texts that stay odd wherever they stand, in a comma list, too."""
ODD = (
    ODD_TEXTS
    | st.sampled_from(["", " ", "A,B", None, True, False, 7, 1.5, float("nan"), b"AAPL", ("AAPL",), {"A": 1}])
    | st.text().filter(lambda text: not set(text.strip()) <= {*ALPHABET, "*"})
)
"""Whatever may stand in a list of Python's, JSON's or YAML's."""
