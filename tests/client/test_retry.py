import pytest

from tritonclip.errors import ImageError, RequestTimeout, ServerError, ServerUnavailable
from tritonclip.retry import Backoff

BUSY = ServerUnavailable("busy")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_a_limit():
    backoff = Backoff(6, 1000, jitter=lambda: 0.0)
    pauses = [backoff.pause_after(BUSY) for _ in range(6)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_jitter_shortens_a_pause_by_up_to_a_half():
    assert Backoff(1, 1000, jitter=lambda: 1.0).pause_after(BUSY) == pytest.approx(0.1)


def test_the_error_itself_is_raised_when_tries_are_used_up():
    backoff = Backoff(1, 1000)
    backoff.pause_after(BUSY)
    with pytest.raises(ServerUnavailable) as caught:
        backoff.pause_after(BUSY)
    assert caught.value is BUSY


@pytest.mark.parametrize(
    "error", [ImageError("bad", 0), RequestTimeout("late"), ServerError("broken")]
)
def test_errors_that_another_try_would_not_mend_are_raised_at_once(error):
    with pytest.raises(type(error)):
        Backoff(3, 1000).pause_after(error)


def test_no_retry_starts_that_could_not_finish_before_the_deadline():
    backoff = Backoff(3, 0.1, jitter=lambda: 0.0)
    with pytest.raises(ServerUnavailable):
        backoff.pause_after(BUSY)


def test_all_tries_share_one_deadline():
    clock = Clock()
    backoff = Backoff(3, 10, clock=clock)
    clock.now += 4
    assert backoff.remaining() == pytest.approx(6)
    clock.now += 7
    with pytest.raises(RequestTimeout, match="within 10 s"):
        backoff.remaining()
