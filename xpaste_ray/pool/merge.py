"""Several pools as one. Categories are matched by name, instances by id; pixels stay as they are stored."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from xpaste_ray.categories import Category
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pool.layout import PIXELS
from xpaste_ray.pool.reader import Pool
from xpaste_ray.pool.write import Rejection, Row, check_new, write_pool
from xpaste_ray.storage import Location

_CONTENTS = ("category", "height", "width", "encoding", *PIXELS)


def merge_pools(
    pools: Sequence[Pool], folder: Location, tell: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Write the pools' instances, pool after pool, as one pool. Returns "instances", "duplicates" (an id
    that came before with the same pixels: kept once) and "renamed" (with others: kept under a new id).

    The first pool's categories keep their ids; of the others, those of the same name get these, and new ones
    keep theirs where it is free (`Pool.in_vocabulary`). One instance is held in memory at a time, beside all
    ids. tell: is told how many instances are done, each time.
    """
    check_new(folder)
    vocabulary, renumbered = _one_vocabulary(pools)
    counts: Counter[str] = Counter(dict.fromkeys(("instances", "duplicates", "renamed"), 0))
    duplicates: list[Rejection] = []
    names = {category.id: category.name for category in vocabulary}
    write_pool(folder, _rows(renumbered, names, counts, duplicates, tell), vocabulary, duplicates)
    return dict(counts)


def _one_vocabulary(pools: Sequence[Pool]) -> tuple[list[Category], list[Pool]]:
    first, *others = pools
    vocabulary, renumbered = list(first.categories), [first]
    for pool in others:
        renumbered.append(pool.in_vocabulary(vocabulary))
        known = {category.id for category in vocabulary}
        vocabulary += [one for one in renumbered[-1].categories if one.id not in known]
    return vocabulary, renumbered


def _rows(
    pools: Sequence[Pool],
    names: Mapping[int, str],
    counts: Counter[str],
    duplicates: list[Rejection],
    tell: Callable[[int], None],
) -> Iterator[Row]:
    """names: of categories, by id. counts and duplicates are added to."""
    place_of: dict[str, tuple[int, int]] = {}  # instance id: which pool, which row
    done = 0
    for number, pool in enumerate(pools):
        for row in range(len(pool)):
            stored = _told_anew(pool, row, names)
            name = stored["instance_id"]
            if name in place_of and not _same(stored, _told_at(pools, place_of[name], names)):
                name = f"{name}-{_digest(stored)}"
                counts["renamed"] += name not in place_of
            done += 1
            tell(done)
            if name in place_of:
                counts["duplicates"] += 1
                duplicates.append(("proposal", name, stored["category"], "duplicate"))
                continue
            place_of[name] = number, row
            counts["instances"] += 1
            yield {**stored, "instance_id": name}


def _told_at(pools: Sequence[Pool], place: tuple[int, int], names: Mapping[int, str]) -> Row:
    number, row = place
    return _told_anew(pools[number], row, names)


def _told_anew(pool: Pool, row: int, names: Mapping[int, str]) -> Row:
    category_id = pool.category_id(row)
    return {**pool.stored(row), "category_id": category_id, "category": names[category_id]}


def _same(one: Row, other: Row) -> bool:
    return all(one[name] == other[name] for name in _CONTENTS)


def _digest(row: Row) -> str:
    """8 hex digits of what makes an instance another one; the same in whatever order pools are given."""
    return hash_bytes(repr([row[name] for name in _CONTENTS]).encode())[:8]
