"""Which samples each of several readers asks for."""

from collections.abc import Iterator


def requests_of(share: int, shares: int, start: int, count: int, size: int) -> Iterator[range]:
    """The samples of one of `shares` readers of samples `start` to `count - 1`, a range a request.

    Together the readers have each sample once. Readers take turns, `size` samples each, so that what all
    have after equally many requests is the beginning; what is left at the end is divided into parts that
    differ by one sample at most.
    """
    turn = shares * size
    for first in range(start, count, turn):
        length = min(turn, count - first)
        found = range(first + length * share // shares, first + length * (share + 1) // shares)
        if found:
            yield found


def length_of(share: int, shares: int, start: int, count: int) -> int:
    """How many samples that are, whatever the size of requests; also of a reader that is divided again."""
    left = max(count - start, 0)
    return left * (share + 1) // shares - left * share // shares
