"""The client keeps label embeddings, within a limit of memory."""

import numpy as np

from tritonclip.labels import LabelCache


def key(label):
    return (label,), ("{}",)


def vectors():
    return np.ones((10, 100), np.float32)  # 4,000 bytes


def test_what_was_used_least_recently_goes_first():
    cache = LabelCache(limit=2 * 5_000)
    for label in "ab":
        cache.put(key(label), vectors())
    cache.get(key("a"))
    cache.put(key("c"), vectors())
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) is not None
    assert cache.get(key("c")) is not None


def test_a_set_that_is_put_again_counts_once():
    cache = LabelCache(limit=2 * 5_000)
    for label in "abbb":
        cache.put(key(label), vectors())
    assert cache.get(key("a")) is not None


def test_a_set_beyond_the_limit_is_kept_alone():
    cache = LabelCache(limit=1)
    for label in "ab":
        cache.put(key(label), vectors())
    assert cache.get(key("a")) is None
    assert cache.get(key("b")) is not None


def test_what_callers_share_is_read_only():
    assert not LabelCache().put(key("a"), vectors()).flags.writeable
