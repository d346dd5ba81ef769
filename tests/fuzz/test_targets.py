import pytest

from tests.fuzz.targets import DECODER_SEEDS, SPLITTER_SEEDS, check_decoder, check_splitter

FOUND_SPLITTER: list[bytes] = []
FOUND_DECODER = [
    b'\x06{"8v\x07\xc2\xc2\xc2\xc2>==?\xc2%%%\xff\xff\xff\xff"h\xff\xfe\xff\xbf\xffv"\xff"h\xff\xfe\xff\xff\xffv":',
    b'\x06{"v":[{"evP[{"evP$"[{"@{"ev":000},',
]
"""What the fuzzer stopped at: so far only what took over 5 s, instrumented on a busy machine."""


@pytest.mark.parametrize("data", [*SPLITTER_SEEDS, *FOUND_SPLITTER])
def test_the_splitter_is_the_naive_one(data):
    """What was found once must not come back; and a target that fails on its seeds finds nothing else."""
    check_splitter(data)


@pytest.mark.parametrize("data", [*DECODER_SEEDS, *FOUND_DECODER])
def test_counting_thinning_and_bites_agree_with_the_decoder(data):
    """As above, of the decoder."""
    check_decoder(data)
