import itertools

from xpaste_ray.client.shares import length_of, requests_of


def _samples(share, shares, start, count, size):
    return [number for one in requests_of(share, shares, start, count, size) for number in one]


def test_one_reader_asks_for_all_in_order():
    assert list(requests_of(0, 1, 0, 10, 4)) == [range(0, 4), range(4, 8), range(8, 10)]


def test_readers_take_turns_and_divide_the_rest():
    assert list(requests_of(0, 2, 0, 11, 4)) == [range(0, 4), range(8, 9)]
    assert list(requests_of(1, 2, 0, 11, 4)) == [range(4, 8), range(9, 11)]


def test_every_sample_has_one_reader_whatever_their_number():
    for shares, start, count, size in itertools.product((1, 2, 3, 7), (0, 1, 13), (1, 12, 40), (1, 4, 9)):
        each = [_samples(share, shares, start, count, size) for share in range(shares)]
        assert sorted(itertools.chain(*each)) == list(range(start, count))
        assert all(one == sorted(one) for one in each)
        lengths = [len(one) for one in each]
        assert max(lengths) - min(lengths) <= 1
        assert lengths == [length_of(share, shares, start, count) for share in range(shares)]


def test_ranks_are_as_long_whatever_their_workers():
    for ranks, workers in itertools.product((1, 2, 3), (1, 2, 4)):
        for rank in range(ranks):
            shares = range(rank * workers, (rank + 1) * workers)
            found = sum(len(_samples(share, ranks * workers, 2, 40, 3)) for share in shares)
            assert found == length_of(rank, ranks, 2, 40)


def test_after_equally_many_requests_readers_have_the_beginning():
    have = set()
    for share in range(3):
        for one in itertools.islice(requests_of(share, 3, 0, 100, 4), 5):
            have |= set(one)
    assert have == set(range(5 * 3 * 4))
