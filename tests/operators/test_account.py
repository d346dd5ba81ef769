from operators.account import Account


def test_imbalance_is_what_is_nowhere():
    """The promise of the whole stream is one number; it must see every field."""
    parts = {"delivered": 6, "deduplicated": 5, "dropped": 4, "failed": 3, "rejected": 2, "queued": 1}
    assert Account(received=21, **parts).imbalance == 0
    assert Account(received=22, **parts).imbalance == 1


def test_accounts_add_up():
    """The account of a stream is the sum of its connections'."""
    one, ten = Account(1, 2, 3, 4, 5, 6, 7), Account(10, 20, 30, 40, 50, 60, 70)
    assert one + ten == Account(11, 22, 33, 44, 55, 66, 77)


def test_it_reads_as_the_equation():
    """It is printed at the end of a run."""
    text = "received 1,000 = delivered 900 + deduplicated 50 + dropped 30 + failed 15 + rejected 5 + queued 0"
    assert str(Account(1000, 900, 50, 30, 15, 5)) == text
