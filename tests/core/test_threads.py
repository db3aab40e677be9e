from __future__ import annotations

import threading
import time

import pytest

from nextpatch.core.threads import map_in_threads


def test_answers_come_in_the_order_of_the_questions():
    assert list(map_in_threads(lambda n: time.sleep((7 - n) / 1000) or n * n, range(7), 3)) == [n * n for n in range(7)]
    assert list(map_in_threads(str, [], 3)) == []


def test_the_first_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda n: 1 / n, [1, 0, 2], 2))


def test_an_interrupt_waits_for_no_answer_and_asks_nothing_more():
    stuck, asked = threading.Event(), []
    answers = map_in_threads(lambda n: asked.append(n) or (n and stuck.wait(30)), range(20), 2)
    assert next(answers) == 0
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        answers.throw(KeyboardInterrupt)
    assert time.monotonic() - start < 1
    stuck.set()
    time.sleep(0.05)
    assert len(asked) <= 4
    assert all(thread.daemon for thread in threading.enumerate() if "work" in thread.name)
