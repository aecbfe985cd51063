"""A few hundred cases of fuzzing; `make fuzz` runs thousands, each in a process that may crash."""

import pytest

from tests.fuzz.cases import READ, REFUSED, Cases
from tests.fuzz.targets import TARGETS

ROUNDS = 6  # of every target
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return Cases(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("k", range(len(TARGETS)), ids=lambda k: TARGETS[k].name)
def test_what_is_sound_is_read_and_what_is_damaged_is_read_or_refused(cases, k):
    if cases._sound(k)[1]:
        assert cases.run_sound(k) == READ
    outcomes = {number: cases.run(number) for number in range(k, ROUNDS * len(TARGETS), len(TARGETS))}
    assert {number: one for number, one in outcomes.items() if one not in (READ, REFUSED)} == {}
