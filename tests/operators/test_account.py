from operators.account import Account


def test_imbalance_is_what_is_nowhere():
    """The promise of the whole stream is one number; it must see every field."""
    balanced = Account(received=15, delivered=5, deduplicated=4, dropped=3, rejected=2, queued=1)
    assert balanced.imbalance == 0
    assert Account(received=16, delivered=5, deduplicated=4, dropped=3, rejected=2, queued=1).imbalance == 1


def test_accounts_add_up():
    """The account of a stream is the sum of its connections'."""
    assert Account(1, 2, 3, 4, 5, 6) + Account(10, 20, 30, 40, 50, 60) == Account(11, 22, 33, 44, 55, 66)


def test_it_reads_as_the_equation():
    """It is printed at the end of a run."""
    text = "received 1,000 = delivered 900 + deduplicated 50 + dropped 30 + rejected 20 + queued 0"
    assert str(Account(1000, 900, 50, 30, 20)) == text
