"""From one written dataset to another in other formats. Images are copied as they are, byte by byte."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xpaste_ray.config import FormatName
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.formats.contract import SPEC_FILE, DatasetSpec, has_spec, read_spec
from xpaste_ray.formats.dataset import Advance, finish, missing_shards, read_images, write_shard
from xpaste_ray.formats.losses import losses
from xpaste_ray.formats.shards import Shard, read_fragment
from xpaste_ray.runs import open_run, remove_asides, write_whole


def convert(
    source: Path,
    out: Path,
    formats: Sequence[FormatName],
    polygons: bool = False,
    advance: Advance | None = None,
) -> Counter[str]:
    """Write the dataset in `source` again, in `out`, in other formats.

    Continues what was interrupted; `advance` is told of samples that are done, those of an earlier call
    first. Returns the numbers of images and annotations. ConfigError before anything is written if
    `source` is no finished dataset, or `out` holds something else; later if `source` is damaged.
    """
    given = read_spec(source)
    wanted = converted_spec(given, formats, polygons)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(
            f"{out} is the dataset itself or inside it: choose another folder to convert it into"
        )
    with open_run(out):
        _claim(out, wanted)
        remove_asides(out)
        missing = missing_shards(out, wanted)
        if advance:
            advance(given.count - sum(len(shard.indices) for shard in missing))
        for shard in missing:
            convert_shard(source, out, shard, given, wanted)
            if advance:
                advance(len(shard.indices))
        return finish(out, wanted)


def conversion_notes(source: Path, formats: Sequence[FormatName], polygons: bool = False) -> list[str]:
    """What a conversion leaves behind, a line each. ConfigError if `source` is no finished dataset."""
    given = read_spec(source)
    wanted = converted_spec(given, formats, polygons)
    samples = (sample for shard in given.shards for sample in read_fragment(source, shard).samples)
    notes = [_lost_line(name, counts) for name, counts in losses(samples, wanted.formats).items()]
    if (polygons or given.wants_polygons) and not wanted.wants_polygons:
        if {"coco", "lvis"}.isdisjoint(formats):
            notes.append("polygons are for coco and lvis files: the other formats have masks of their own")
        else:
            notes.append("the source's polygons become RLE: give --polygons to keep them")
    return notes


def _lost_line(name: FormatName, counts: Mapping[str, int]) -> str:
    what = ", ".join(f"{what} ({count})" for what, count in counts.items())
    return f"{name} has no room for {what}: only the dataset's own record, fragments/, holds them"


def converted_spec(given: DatasetSpec, formats: Sequence[FormatName], polygons: bool) -> DatasetSpec:
    """What the converted dataset is; its recipe follows from the source's."""
    recipe = fingerprint({"convert": given.recipe, "formats": list(formats), "polygons": polygons})
    return replace(given, formats=tuple(formats), polygons=polygons, recipe=recipe)


def convert_shard(source: Path, out: Path, shard: Shard, given: DatasetSpec, wanted: DatasetSpec) -> None:
    """Write one shard. ConfigError if it cannot be read from the source."""
    fragment = read_fragment(source, shard)
    try:
        images = list(read_images(source, shard, given))
    except OSError as error:
        raise ConfigError(
            f"{source}: an image of shard {shard.name} cannot be read ({error}): xpaste validate lists all "
            "that is missing; run the command that wrote the dataset again"
        ) from None
    write_shard(out, shard, fragment.samples, images, fragment.counts, wanted)


def _claim(out: Path, wanted: DatasetSpec) -> None:
    """Refuse a folder with anything else in it: a reader who lists it would take both datasets.

    The claim says whose files lie there as long as there is no `dataset.json`.
    """
    claim = out / ".recipe"
    if (out / SPEC_FILE).exists():
        fits = has_spec(out, wanted)
    elif claim.exists():
        fits = claim.read_text(encoding="utf-8") == wanted.recipe
    else:
        fits = all(path.name.startswith(".") for path in out.iterdir())
    if not fits:
        raise ConfigError(f"{out} holds something else: choose an empty or a new folder")
    write_whole(claim, wanted.recipe.encode())
