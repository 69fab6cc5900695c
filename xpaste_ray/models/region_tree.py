"""Which adjacent regions of an image are one thing: greedy merging, and how sharply a region stands out.

After selective search (Uijlings et al. 2013): the two most alike neighbours are merged, again and again,
and every region on the way is a proposal; this is done in two ways, because no one likeness finds all. Colour
and size count as there; instead of texture and fill it is the edge between the two (Arbelaez et al. 2011).
Plain NumPy and OpenCV.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

_BINS = 10  # of each Lab channel
_LAB_RANGES = ((0.0, 100.0), (-60.0, 60.0), (-60.0, 60.0))  # what photographs reach
_FULL_EDGE = 20.0  # Lab units a pixel: an edge that keeps regions apart as much as having no colour in common
_EDGE_WEIGHTS = (1.0, 0.2)  # beside colour and size: of each way to merge
_BORDER_POWER, _AREA_POWER = 2.0, 0.25


@dataclass(frozen=True, slots=True)
class Picture:
    """lab: (H, W, 3) float32. edges: (H, W) float32, how fast Lab changes, in units a pixel."""

    lab: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True, slots=True)
class Region:
    """Adjacent labels that were merged. score: how likely it is a thing, higher is better."""

    labels: tuple[int, ...]
    area: int
    score: float


def picture_of(image: np.ndarray) -> Picture:
    """image: (H, W, 3) uint8 RGB."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    across, down = (cv2.Scharr(smooth, -1, *axis) / 32 for axis in ((1, 0), (0, 1)))
    return Picture(lab, np.sqrt((across**2 + down**2).sum(axis=-1)))


def merged_regions(picture: Picture, labels: np.ndarray, max_merged: int) -> list[Region]:
    """Every label's region, then every merger of at most `max_merged` labels, as they were made: those of
    the first way to merge, then those of the second, which may be the same.

    labels: (H, W) int, 0 to n - 1, each of them there. A region's score is the mean edge along its outline,
    less for what holds the image's border, more for what is large: edge * (1 - share of border) ** 2 *
    (area / image) ** 0.25. Of the powers tried, these found most objects of composed scenes among the first.
    """
    count = int(labels.max()) + 1
    found: list[Region] = []
    for edge_weight in _EDGE_WEIGHTS:
        tree = _Tree(picture, labels, count, edge_weight)
        tree.merge(max_merged)
        found += list(tree.regions())[count if found else 0 :]
    return found


class _Tree:
    """Regions by number: labels first, mergers after them. Arrays have room for all of both."""

    def __init__(self, picture: Picture, labels: np.ndarray, count: int, edge_weight: float) -> None:
        room = 2 * count - 1
        self._edge_weight = edge_weight
        self._made = count
        self._image_area = labels.size
        self._image_border = 2 * sum(labels.shape)
        self._colours = np.zeros((room, 3 * _BINS))
        self._area, self._border = np.zeros(room), np.zeros(room)
        self._colours[:count] = _colour_counts(picture.lab, labels, count)
        self._area[:count] = np.bincount(labels.ravel(), minlength=count)
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        self._border[:count] = np.bincount(rim, minlength=count)
        self._shared = _shared_outlines(picture.edges, labels, count)
        self._outline = [_total(around) for around in self._shared]
        self._members: list[tuple[int, ...]] = [(number,) for number in range(count)]

    def merge(self, max_merged: int) -> None:
        """The most alike first; of equals, those of lower numbers."""
        queue: list[tuple[float, int, int]] = []
        for number, around in enumerate(self._shared):
            queue += self._offers(number, [other for other in around if other > number])
        heapq.heapify(queue)
        gone: set[int] = set()
        while queue:
            _, one, other = heapq.heappop(queue)
            if (
                one in gone
                or other in gone
                or len(self._members[one]) + len(self._members[other]) > max_merged
            ):
                continue
            gone |= {one, other}
            for offer in self._join(one, other):
                heapq.heappush(queue, offer)

    def _offers(self, one: int, others: list[int]) -> Iterator[tuple[float, int, int]]:
        """How unlike a region and its neighbours are: colours without overlap are 1 apart, a full edge
        between them the edge's weight, and both together as large as the image 1."""
        if not others:
            return
        own, theirs = self._area[one], self._area[others]
        alike = np.minimum(self._colours[others] / theirs[:, None], self._colours[one] / own).sum(axis=1) / 3
        shared = np.array([self._shared[one][other] for other in others])
        edge = np.minimum(1, shared[:, 1] / shared[:, 0] / _FULL_EDGE)
        unlike = (1 - alike) + self._edge_weight * edge + (own + theirs) / self._image_area
        yield from zip(unlike.tolist(), [one] * len(others), others, strict=True)

    def _join(self, one: int, other: int) -> Iterator[tuple[float, int, int]]:
        new, self._made = self._made, self._made + 1
        for sums in (self._colours, self._area, self._border):
            sums[new] = sums[one] + sums[other]
        around: dict[int, tuple[float, float]] = {}
        for part in (one, other):
            for neighbour, (length, strength) in self._shared[part].items():
                if neighbour not in (one, other):
                    before = around.get(neighbour, (0.0, 0.0))
                    around[neighbour] = (before[0] + length, before[1] + strength)
        for neighbour, shared in around.items():
            for part in (one, other):
                self._shared[neighbour].pop(part, None)
            self._shared[neighbour][new] = shared
        self._shared.append(around)
        self._outline.append(_total(around))
        self._members.append(self._members[one] + self._members[other])
        return self._offers(new, list(around))

    def regions(self) -> Iterator[Region]:
        for number, members in enumerate(self._members):
            length, strength = self._outline[number]
            edge = strength / length if length else 0.0  # the whole image has no outline
            inside = 1 - self._border[number] / self._image_border
            size = self._area[number] / self._image_area
            score = edge * inside**_BORDER_POWER * size**_AREA_POWER
            yield Region(members, int(self._area[number]), float(score))


def _colour_counts(lab: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """(count, 3 * _BINS): pixels by label and by channel's bin, each shared by the two nearest bins."""
    found = np.zeros((count, 3, _BINS))
    first = labels.ravel() * _BINS
    for channel, (low, high) in enumerate(_LAB_RANGES):
        place = np.clip((lab[..., channel].ravel() - low) / (high - low) * _BINS - 0.5, 0, _BINS - 1)
        lower = np.minimum(place.astype(np.int64), _BINS - 2)
        for bin_, weight in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
            found[:, channel] += np.bincount(first + bin_, weight, count * _BINS).reshape(count, _BINS)
    return found.reshape(count, -1)


def _shared_outlines(
    edges: np.ndarray, labels: np.ndarray, count: int
) -> list[dict[int, tuple[float, float]]]:
    """For each label its neighbours (by a side of a pixel): length of what they share, sum of the edges."""
    pairs = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        differ = labels[one] != labels[other]
        strength = np.maximum(edges[one], edges[other])[differ]
        pairs.append((labels[one][differ], labels[other][differ], strength))
    left, right, strength = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    keys, place = np.unique(
        np.minimum(left, right).astype(np.int64) * count + np.maximum(left, right), return_inverse=True
    )
    lengths = np.bincount(place, minlength=len(keys)).astype(float).tolist()
    sums = np.bincount(place, strength, minlength=len(keys)).tolist()
    found: list[dict[int, tuple[float, float]]] = [{} for _ in range(count)]
    for key, *shared in zip(keys.tolist(), lengths, sums, strict=True):
        one, other = divmod(key, count)
        found[one][other] = found[other][one] = (shared[0], shared[1])
    return found


def _total(around: dict[int, tuple[float, float]]) -> tuple[float, float]:
    return sum(length for length, _ in around.values()), sum(strength for _, strength in around.values())
