"""Images with image-level labels: which image shows which categories, and the work that follows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xpaste_ray.categories import Category, did_you_mean, load_vocabulary, name_key
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.pictures.files import file_at, read_file
from xpaste_ray.pictures.headers import read_header
from xpaste_ray.pictures.usable import read_picture
from xpaste_ray.records import Prompt, Unit
from xpaste_ray.sources.found import count_of, hash_lines, some_of
from xpaste_ray.sources.label_layouts import Label, Listed, read_labels

SOURCE = "images"  # in prompts
_ALGORITHM = 1  # raised when the same settings give other images
_KEY_DIGITS = 16

_LEFT_OUT = {  # what is counted, and why it is of no use
    "no_label": ("image", "without a known label"),
    "missing_image": ("image", "with labels, but not there"),
    "unreadable_xml": ("image", "whose XML cannot be read"),
    "bad_path": ("image", "whose place nothing can be read from"),
    "no_path": ("row", "without a path"),
    "unnamed_object": ("object", "without a name"),
    "unknown_image": ("label", "of images that are not listed"),
    "unknown_category": ("label", "of categories that are not in the vocabulary"),
}


class LabelledImages:
    """Images of which the categories are known, in the order of their uris. Picklable.

    root: where relative uris start. uris, label_ids (ascending), keys, licences, pages: of each image.
    categories: those that an image shows, by id; vocabulary: all that have names. contents: a fingerprint
    that does not depend on where the images lie. recipe: what can change an image, beside its file. rejected:
    what the listing showed to be of no use, by reason, see `_LEFT_OUT`; left_out: the same for people. notes:
    what a person should know before the work begins.
    """

    def __init__(self, listed: Listed, settings: ImagesSettings, vocabulary: Sequence[Category]) -> None:
        """vocabulary: whose ids the labels get; if empty, those of the data, or else numbers from 1."""
        self.root, self.max_side_px = listed.root, settings.max_side_px
        self.recipe: Mapping[str, Any] = {
            "algorithm": _ALGORITHM,
            "kind": settings.kind,
            "max_side_px": settings.max_side_px,
        }
        labels = set[Label]().union(*listed.labels.values())
        self.vocabulary = tuple(vocabulary) or (_numbered(labels) if listed.own is None else listed.own)
        ids = _ids_of(labels, listed.own, self.vocabulary)
        known = {
            uri: tuple(sorted({ids[label] for label in told if label in ids}))
            for uri, told in sorted(listed.labels.items())
        }
        self.uris = [uri for uri, several in known.items() if several and uri in listed.sizes]
        self.label_ids = [known[uri] for uri in self.uris]
        shown = set[int]().union(*self.label_ids)
        self.categories = tuple(
            sorted((one for one in self.vocabulary if one.id in shown), key=lambda one: one.id)
        )
        self.licences = [listed.origins.get(uri, (None, None))[0] for uri in self.uris]
        self.pages = [listed.origins.get(uri, (None, None))[1] for uri in self.uris]
        self.keys = [_key(uri, listed.sizes[uri]) for uri in self.uris]
        self.contents = hash_lines(self._content_lines())
        unknown = Counter(str(label) for told in listed.labels.values() for label in told if label not in ids)
        self.unknown_names = [name for name, _ in unknown.most_common()]
        labelled = sum(map(bool, known.values()))
        rejected = listed.rejected + Counter(
            no_label=len(known) - labelled,
            missing_image=labelled - len(self.uris),
            unknown_category=unknown.total(),
        )
        self.rejected = {reason: rejected[reason] for reason in _LEFT_OUT if rejected[reason]}
        self.left_out = [*listed.notes, *self._reasons()]

    def __len__(self) -> int:
        return len(self.uris)

    def load(self, image: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, its longer side at most `max_side_px`. RowError; StorageError if the
        disk or the store fails."""
        return read_picture(self._bytes(image), self.max_side_px)

    def labels(self, image: int) -> tuple[int, ...]:
        """Ids of its categories, ascending."""
        return self.label_ids[image]

    def key(self, image: int) -> str:
        """What tells it from all others, however many there are."""
        return self.keys[image]

    def upright_size_hw(self, image: int) -> tuple[int, int]:
        """Of the original file, as EXIF turns it, in pixels. RowError as `load`."""
        return read_header(self._bytes(image)).upright_size_hw

    def _bytes(self, image: int) -> bytes:
        try:
            return read_file(file_at(self.root, self.uris[image]))
        except FileNotFoundError:
            raise RowError("missing_file", self.uris[image]) from None

    @property
    def notes(self) -> list[str]:
        pairs = sum(map(len, self.label_ids))
        categories = count_of(len(self.categories), "category")
        head = f"{count_of(len(self), 'image')} with {count_of(pairs, 'label')} of {categories}"
        return [head, *self.left_out]

    def _reasons(self) -> Iterator[str]:
        for reason, count in self.rejected.items():
            what, why = _LEFT_OUT[reason]
            names = f": {some_of(self.unknown_names)}" if reason == "unknown_category" else ""
            yield f"{count_of(count, what)} left out: {why}{names}"

    def _content_lines(self) -> Iterator[str]:
        for category in self.categories:
            yield f"{category.id}\0{category.name}"
        for key, ids, licence, page in zip(self.keys, self.label_ids, self.licences, self.pages, strict=True):
            yield f"{key}\0{ids}\0{licence}\0{page}"


def open_labelled(settings: ImagesSettings, option: str = "foregrounds.images") -> LabelledImages:
    """Lists the images that the settings name; none is opened.

    option: where the settings stand, for messages. ConfigError if nothing there is an image with a label, or
    it is not what `labels` says; it tells what to do.
    """
    listed = read_labels(settings, option)
    images = LabelledImages(listed, settings, _vocabulary(settings, option))
    if not len(images):
        raise ConfigError(f"{option}.path: {settings.path} {_nothing_usable(images, option)}")
    return images


def _vocabulary(settings: ImagesSettings, option: str) -> tuple[Category, ...]:
    if settings.vocabulary is None:
        return ()
    try:
        return load_vocabulary(settings.vocabulary)
    except ConfigError as error:
        text = str(error).replace("categories.vocabulary: ", f"{option}.vocabulary: ", 1)
        raise ConfigError(text) from None


def _nothing_usable(images: LabelledImages, option: str) -> str:
    told = "; ".join(images.left_out) or "nothing is listed"
    hint = ""
    if images.unknown_names:
        near = did_you_mean(images.unknown_names[0], [category.name for category in images.vocabulary])
        hint = f". {images.unknown_names[0]!r} is unknown{near}"
    return (
        f"has no image with a label ({told}){hint}. Check the path, {option}.labels, {option}.images and "
        f"{option}.vocabulary"
    )


def _numbered(labels: Iterable[Label]) -> tuple[Category, ...]:
    """Names from 1 on in their order. Those that differ in case, spaces and underscores only are one."""
    names: dict[str, str] = {}
    for label in sorted(map(str, labels)):
        names.setdefault(name_key(label), label)
    return tuple(Category(number, names[key]) for number, key in enumerate(sorted(names), 1))


def _ids_of(
    labels: Iterable[Label], own: Sequence[Category] | None, vocabulary: Sequence[Category]
) -> dict[Label, int]:
    """Ids in the vocabulary, of the labels that it knows. A name that is none there may be an id; names win
    over ids. own: of which the labels are ids, if they are."""
    by_key = {name_key(category.name): category.id for category in vocabulary}
    by_id = {str(category.id): category.id for category in vocabulary}
    names = {category.id: category.name for category in own or ()}
    found: dict[Label, int] = {}
    for label in labels:
        number: int | None
        if isinstance(label, str):
            number = by_key.get(name_key(label), by_id.get(label))
        elif own is vocabulary:
            number = label if label in names else None
        else:
            number = by_key.get(name_key(names.get(label, "")))
        if number is not None:
            found[label] = number
    return found


def _key(uri: str, size: int | None) -> str:
    """The same wherever the image lies and whatever lies beside it; another if the file is another."""
    return hash_lines([uri, str(size)])[:_KEY_DIGITS]


def labelled_units(images: LabelledImages, unit_size: int) -> Iterator[Unit]:
    """The work: a candidate for each image and each of its categories.

    Pairs of one image are in one unit, so that it is read and segmented once. At most `unit_size` pairs a
    unit, or those of one image where it has more. Prompts' `index` is the image's number; ids follow from the
    image and the category alone, so more images change none.
    """
    made_by = fingerprint(images.recipe)[:8]
    names = {category.id: category.name for category in images.categories}
    number, prompts = 0, list[Prompt]()
    for image in range(len(images)):
        own = _prompts(images, image, names, made_by)
        if prompts and len(prompts) + len(own) > unit_size:
            yield Unit(0, number, tuple(prompts))
            number, prompts = number + 1, []
        prompts += own
    if prompts:
        yield Unit(0, number, tuple(prompts))


def _prompts(images: LabelledImages, image: int, names: Mapping[int, str], made_by: str) -> list[Prompt]:
    return [
        Prompt(
            f"{category_id}-{images.keys[image]}-{made_by}",
            category_id,
            names[category_id],
            image,
            SOURCE,
            uri=images.uris[image],
            licence=images.licences[image],
            page=images.pages[image],
        )
        for category_id in images.label_ids[image]
    ]
