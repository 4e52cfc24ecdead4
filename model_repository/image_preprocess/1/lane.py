"""A slow lane: requests that take long, in threads of their own, so that others need not wait.

Triton hands a model one batch after the other. Were a request with a large picture in it answered
like the rest, all requests that came meanwhile would wait for that picture, and behind a batch of
them for a minute.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import triton_python_backend_utils as pb_utils

# Of what the waiting requests have sent, which stays in shared memory: as much as eight of the
# client's largest requests.
ROOM_BYTES = 256 << 20
# Of the threads, so that on busy cores the rest of the server goes first; they keep a tenth.
_NICENESS = 10


class Lane:
    """Answers requests when their jobs are done; the model's `execute` does not wait for them."""

    def __init__(self, threads, after=lambda: None):
        """Start the threads.

        Args:
            threads: how many jobs are done at a time.
            after: called when the last of the waiting requests has been answered.
        """
        self._workers = ThreadPoolExecutor(threads, "slow lane", initializer=_give_way)
        # Jobs are begun in the order in which they came, so one thread answers without delay.
        self._answers = ThreadPoolExecutor(1, "slow answers")
        self._after = after
        self._lock = threading.Lock()
        self._held = 0

    def take(self, request, size, jobs, respond):
        """Answer `request` with `respond(results of jobs)` when they are done.

        Args:
            request: of Triton.
            size: bytes that it holds until then.
            jobs: functions without arguments.
            respond: makes the response of their results, in order.

        Returns:
            None, which is what `execute` is to return for a request that is answered later; or,
            where too much waits already, the response that says so.
        """
        with self._lock:
            if self._held and self._held + size > ROOM_BYTES:
                return _busy()
            self._held += size
        sender = request.get_response_sender()
        results = [self._workers.submit(job) for job in jobs]
        self._answers.submit(self._answer, sender, size, results, respond)
        return None

    def close(self):
        """Stop the threads; Triton has waited for the requests."""
        self._workers.shutdown(cancel_futures=True)
        self._answers.shutdown()

    def _answer(self, sender, size, results: list[Future], respond):
        try:
            response = respond([result.result() for result in results])
        except Exception as error:  # nobody else would answer the request
            message = f"{type(error).__name__}: {error}"
            response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        with self._lock:  # first, as the caller may send the next at once
            self._held -= size
            idle = not self._held
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        if idle:
            self._after()


def _busy():
    message = "too many requests wait that take long: send it again"
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(message, pb_utils.TritonError.UNAVAILABLE)
    )


def _give_way():
    # Linux knows a niceness of each thread, by its native number.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
