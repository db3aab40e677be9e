"""Many questions asked side by side by threads that nobody waits for when the answers are no longer wanted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


def map_in_threads(
    function: Callable[[Question], Answer], questions: Sequence[Question], threads: int
) -> Iterator[Answer]:
    """What `function` returns for each question, in order; what it raises is raised in its turn.

    The threads of concurrent.futures are waited for even when the program ends: a server that does not answer would
    then hold up Ctrl-C. These end by themselves.
    """
    left = iter(enumerate(questions))
    lock, ended = threading.Lock(), threading.Event()
    answers: queue.SimpleQueue[tuple[int, Answer | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        while not ended.is_set():
            with lock:
                number, question = next(left, (-1, None))
            if number < 0:
                return
            try:
                answers.put((number, function(question), None))  # type: ignore[arg-type]
            except BaseException as error:
                answers.put((number, None, error))

    for _ in range(min(threads, len(questions))):
        threading.Thread(target=work, daemon=True).start()
    known: dict[int, tuple[Answer | None, BaseException | None]] = {}
    try:
        for due in range(len(questions)):
            while due not in known:
                number, answer, error = answers.get()
                known[number] = (answer, error)
            answer, error = known.pop(due)
            if error is not None:
                raise error
            yield answer  # type: ignore[misc]
    finally:
        ended.set()
