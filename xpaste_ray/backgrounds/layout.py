"""The files of an index of backgrounds, and the tables on the way to it.

    manifest.json      fingerprint, categories, counts by reason, checksums; written last
    index.arrow        a row an image, in source order, the rejected ones too
    annotations.arrow  a row an annotation, in the order of the images

Arrow IPC; every record batch but the last has exactly `ROWS_PER_BATCH` rows, so a row is found
without looking. Nothing in the files tells when, where or by how many workers they were made.
"""

import pyarrow as pa

MANIFEST = "manifest.json"
INDEX = "index.arrow"
ANNOTATIONS = "annotations.arrow"
FORMAT = 2

ROWS_PER_BATCH = 4096

_PLACE = [  # where an image's bytes are: a file below the source's root, or a row of a Parquet file
    pa.field("id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("row_group", pa.int32()),
    pa.field("row", pa.int32()),  # within the row group
]
_LABELS = [
    pa.field("image_id", pa.int64()),  # the dataset's own
    pa.field("neg_category_ids", pa.list_(pa.int64())),
    pa.field("not_exhaustive_category_ids", pa.list_(pa.int64())),
    pa.field("category_ids", pa.list_(pa.int64()), nullable=False),  # of all its annotations, ascending
]

# The work list: what a source knows before an image is opened.
ITEMS = pa.schema(
    [
        *_PLACE,
        *_LABELS,
        pa.field("height", pa.int32()),  # as the dataset has it
        pa.field("width", pa.int32()),
        # the annotations' places in the annotation file, in bytes: the file itself is not sent around
        pa.field("spans", pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())])), nullable=False),
    ]
)

ANNOTATION_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("iscrowd", pa.int8(), nullable=False),
        pa.field("x", pa.int32(), nullable=False),  # the tight box of the mask
        pa.field("y", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),  # pixels of the mask
        pa.field("counts", pa.large_binary(), nullable=False),  # COCO's compressed RLE, image-sized
    ]
)

_IMAGE = [
    *_PLACE,
    *_LABELS,
    pa.field("status", pa.string(), nullable=False),  # "ok" or "rejected"
    pa.field("reason", pa.string()),
    pa.field("height", pa.int32()),  # upright; null if rejected
    pa.field("width", pa.int32()),
    pa.field("file_bytes", pa.int64()),  # encoded size
    pa.field("crc32", pa.int64()),  # of the encoded bytes: cheap enough to compare at every load
    pa.field("checksum", pa.string()),  # BLAKE2b of the same: what the fingerprint is made from
    pa.field("rejected_annotations", pa.list_(pa.string()), nullable=False),  # a reason each
    pa.field("rejected_category_ids", pa.list_(pa.int64()), nullable=False),  # of the same, ascending
]

# What one worker makes of a part of the work list.
PART = pa.schema(
    [
        *_IMAGE,
        pa.field("annotations", pa.list_(pa.struct(list(ANNOTATION_SCHEMA))), nullable=False),
        pa.field("identity", pa.string()),  # a hash of all that the fingerprint covers; null if rejected
    ]
)

INDEX_SCHEMA = pa.schema(
    [
        *_IMAGE,
        pa.field("first_annotation", pa.int64(), nullable=False),  # row of annotations.arrow
        pa.field("annotations", pa.int32(), nullable=False),
        pa.field("objects", pa.int32(), nullable=False),  # annotations that are not crowds
    ]
)
