"""COCO's compressed RLE, read without COCO's library: what it would decode unseen is looked at first."""

from typing import Any

import numpy as np

from xpaste_ray.masks import BoxXYWH


def rle_runs(counts: str | bytes) -> np.ndarray:
    """The run lengths, int64, of compressed counts, text or its ASCII. ValueError if they are none.

    A number is written in groups of 5 bits, lowest first, in characters from "0" on; bit 5 says that
    more follow, bit 4 of the last group is the sign. From the fourth run on, the number is the
    difference to the run before the last. Source: rleFrString in COCO's maskApi.c.
    """
    text = (
        counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    )  # what is not ASCII is foreign below
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("counts are empty, cut off or have foreign characters")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if places.max() > 6:  # 7 groups are 35 bits, more than any image has pixels
        raise ValueError("a run is longer than any image")
    numbers = np.add.reduceat((codes & 31) << (5 * places), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * (places[ends] + 1)), 0)
    for parity in (1, 2):  # runs 1, 3, 5 ... and 2, 4, 6 ... are sums of differences; run 0 stands alone
        numbers[parity::2] = np.cumsum(numbers[parity::2])
    return numbers


def decode_in_box(segmentation: dict[str, Any], box_xywh: BoxXYWH) -> np.ndarray:
    """The part of a good RLE inside a box in its image: (h, w) bool. Only the box's columns are painted."""
    left, top, width, height = box_xywh
    image_height = segmentation["size"][0]
    first, last = left * image_height, (left + width) * image_height
    edges = np.clip(np.cumsum(rle_runs(segmentation["counts"])), first, last)
    runs = np.diff(edges, prepend=first)
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, image_height)
    return columns[:, top : top + height].T
