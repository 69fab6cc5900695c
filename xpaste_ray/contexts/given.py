"""Captions that a user brings, matched to images."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xpaste_ray.config.contexts import GivenCaptions
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.json_lists import list_entries
from xpaste_ray.sources.found import count_of
from xpaste_ray.sources.index_file import SUFFIXES, is_index_file, read_index
from xpaste_ray.sources.shipped import shipped_or_given
from xpaste_ray.storage import Location, locate

_ALSO_CALLED = {"path": ("image", "file_name", "filename"), "caption": ("text",)}


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """captions: of each image that has some, by its uri. contents: a hash of the file. notes: what was left
    out."""

    captions: dict[str, tuple[str, ...]]
    contents: str
    notes: tuple[str, ...]


def read_captions(
    settings: GivenCaptions, uris: Sequence[str], option: str = "contexts.captions.file"
) -> GivenTexts:
    """The captions of the images `uris`, in the file's order. ConfigError, which begins with `option`, if the
    file cannot be read, or has captions of none of them."""
    place = locate(shipped_or_given(settings.file, "captions.csv"))
    if is_index_file(place.name):
        table, contents, empty = read_index(place, option, ("path", "caption"), (), _ALSO_CALLED)
        pairs = list(zip(table["path"].to_pylist(), table["caption"].to_pylist(), strict=True))
    elif place.name.lower().endswith(".json"):
        pairs, contents, empty = _read_coco(place, option)
    else:
        raise ConfigError(f"{option}: {place}: give a file {', '.join(SUFFIXES)}, or COCO's captions (.json)")
    found: dict[str, list[str]] = defaultdict(list)
    uri_of, unknown = _matcher(uris), Counter[str]()
    for name, caption in pairs:
        if (uri := uri_of(name)) is None:
            unknown[name] += 1
        else:
            found[uri].append(" ".join(caption.split()))
    if not found:
        told = f"such as {next(iter(unknown))!r}" if unknown else "as there are none"
        raise ConfigError(
            f"{option}: {place} has captions of none of the {len(uris)} images, whose names are such as "
            f"{next(iter(uris), '')!r}: its own are {told}. Name images by path or by file name"
        )
    notes = [f"{count_of(empty, 'caption')} left out: empty, or of no image"] if empty else []
    if unknown:
        notes.append(f"{count_of(unknown.total(), 'caption')} left out: of images that are not listed")
    captions = {uri: tuple(several[: settings.per_image]) for uri, several in found.items()}
    return GivenTexts(captions, contents, tuple(notes))


def _matcher(uris: Sequence[str]) -> Callable[[str], str | None]:
    """Name in the file -> uri: the same; or what ends as it does, from a folder on, if no two have the file
    name. So train/1.jpg is never taken for val/1.jpg."""
    known = set(uris)
    of_name: dict[str, str | None] = {}
    for uri in uris:
        name = uri.rpartition("/")[2]
        of_name[name] = None if name in of_name else uri

    def match(name: str) -> str | None:
        uri = name if name in known else of_name.get(name.rpartition("/")[2])
        return uri if uri and (f"/{uri}".endswith(f"/{name}") or name.endswith(f"/{uri}")) else None

    return match


def _read_coco(place: Location, option: str) -> tuple[list[tuple[str, str]], str, int]:
    """(file name, caption) of each annotation of a COCO captions file, its hash, and how many are empty."""
    try:
        data = place.read_bytes()
        entries = [(key, value) for key, _, _, value in list_entries(data.decode("latin-1"))]
    except FileNotFoundError:
        raise ConfigError(f"{option}: {place} does not exist") from None
    except ValueError as error:
        raise ConfigError(f"{option}: {place} is not readable ({error}): give COCO's captions file") from None
    pairs = list(_coco_pairs(entries))
    if not pairs:
        raise ConfigError(
            f"{option}: {place} has no captions: COCO's are in captions_train2017.json, not in instances_..."
        )
    usable = [(name, caption) for name, caption in pairs if name and caption]
    return usable, hash_bytes(data), len(pairs) - len(usable)


def _coco_pairs(entries: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Texts of JSON that was read as Latin-1 are put right."""
    names = {
        value.get("id"): str(value.get("file_name") or "")
        for key, value in entries
        if key == "images" and isinstance(value, dict)
    }
    for key, value in entries:
        if key == "annotations" and isinstance(value, dict) and "caption" in value:
            name, caption = names.get(value.get("image_id"), ""), str(value["caption"] or "")
            yield _utf8(name), _utf8(caption).strip()


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text  # it was escaped
