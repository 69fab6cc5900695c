"""Objects of a dataset with masks, from its index of images."""

import numpy as np
import pyarrow as pa

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.sources.found import count_of, listing_of


class Objects:
    """What an index of images has annotated, crowds left out."""

    def __init__(self, images: Backgrounds) -> None:
        rows, ids, category_ids = images.objects()
        names = {category.id: category.name for category in images.categories}
        image_of = {row: images.id(row) for row in np.unique(rows).tolist()}
        uris = [object_uri(image_of[row], one) for row, one in zip(rows.tolist(), ids.tolist(), strict=True)]
        self.listing: pa.Table = listing_of(
            {"category": [names[number] for number in category_ids.tolist()], "uri": uris}
        )
        self.contents = images.fingerprint
        self.notes = [
            f"{count_of(count, what)} left out: {reason}"
            for what, found in (("image", images.rejected), ("annotation", images.rejected_annotations))
            for reason, count in found.items()
        ]


def object_uri(image: str, annotation: int) -> str:
    return f"{image}#{annotation}"


def object_of(uri: str) -> tuple[str, int]:
    """Id of the image, id of the annotation: the inverse of `object_uri`."""
    image, _, annotation = uri.rpartition("#")
    return image, int(annotation)
