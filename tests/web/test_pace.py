"""No host is asked more often than it should be."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.web.pace import MAX_HOLD_S, HostQueue


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@given(
    st.floats(0.1, 50),
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 2)), min_size=1, max_size=60),
)
def test_never_more_than_so_many_a_second_for_each_host(rate, requests):
    """requests: of which host, and how long after the one before."""
    clock = Clock()
    queue, moments = HostQueue(rate, clock), {"a": [], "b": []}
    for host, later_s in requests:
        clock.now_s += later_s
        moments[host].append(clock.now_s + queue.reserve(host))
    for several in moments.values():
        assert all(after - before >= 1 / rate - 1e-9 for before, after in pairwise(several))


def test_waits_of_one_host_add_up_and_others_do_not_wait():
    queue = HostQueue(4.0, Clock())
    assert [queue.reserve("a") for _ in range(3)] == [0.0, 0.25, 0.5]
    assert queue.reserve("b") == 0.0


def test_unused_time_is_not_saved_up():
    clock = Clock()
    queue = HostQueue(2.0, clock)
    queue.reserve("a")
    clock.now_s += 100
    assert [queue.reserve("a") for _ in range(2)] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("seconds", "wait"), [(7, 7.0), (1e9, MAX_HOLD_S), (-1, 0.0), (float("inf"), MAX_HOLD_S)]
)
def test_all_wait_for_as_long_as_a_server_asks_within_bounds(seconds, wait):
    clock = Clock()
    queue = HostQueue(1.0, clock)
    queue.hold("a", seconds)
    assert queue.reserve("a") == wait


def test_queue_is_never_shortened_by_what_a_server_asks():
    queue = HostQueue(0.1, Clock())
    queue.reserve("a")
    queue.hold("a", 2)
    assert queue.reserve("a") == 10.0


def test_hosts_whose_queue_is_over_are_forgotten():
    clock = Clock()
    queue = HostQueue(1.0, clock)
    for number in range(10_001):
        queue.reserve(str(number))
    clock.now_s += 2
    queue.reserve("last")
    assert len(queue._free_at) == 1
