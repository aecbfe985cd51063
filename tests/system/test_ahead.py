"""Work done ahead: in order, errors in their place, never more than was asked for."""

import contextvars
import threading

import pytest

from system.ahead import ahead
from system.errors import UserError


def test_what_a_user_is_to_see_stands_in_its_place():
    def half(number):
        if number % 2:
            raise UserError(f"{number} is odd")
        return number // 2

    found = list(ahead(half, range(5), n_ahead=2, n_threads=2))
    assert [item for item, _ in found] == [0, 1, 2, 3, 4]
    assert [result for _, result in found if not isinstance(result, Exception)] == [0, 1, 2]
    assert [str(result) for _, result in found if isinstance(result, Exception)] == ["1 is odd", "3 is odd"]


def test_a_mistake_of_the_program_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda number: 1 // number, [1, 0], n_ahead=2))


def test_the_context_goes_along():
    asked = contextvars.ContextVar("asked", default=1)
    asked.set(2)
    assert list(ahead(lambda number: number * asked.get(), [3, 4], n_ahead=1)) == [(3, 6), (4, 8)]


def test_so_many_are_done_ahead_and_no_more():
    begun, is_third = [], threading.Event()

    def begin(number):
        begun.append(number)
        if number == 2:
            is_third.set()

    results = ahead(begin, iter(range(9)), n_ahead=3)
    assert next(results)[0] == 0
    assert is_third.wait(10) and begun == [0, 1, 2]
    results.close()
    assert begun == [0, 1, 2]
