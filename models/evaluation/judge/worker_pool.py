"""Processes that analyse clips beside the one that samples them."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


class AnalyserPool:
    """`jobs` processes; with 0 the work is done at once in the caller's. Use in a `with`."""

    def __init__(self, jobs: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._room = threading.Semaphore(2 * jobs + 2)  # a bound on waiting clips, each of megabytes
        if jobs > 0:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start `work`; blocks while 2 jobs + 2 clips are waiting."""
        if self._pool is None:
            done: Future[T] = Future()
            done.set_result(work(*args, **kwargs))
            return done
        self._room.acquire()
        future = self._pool.submit(work, *args, **kwargs)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: Future[Any]) -> None:
        self._room.release()
