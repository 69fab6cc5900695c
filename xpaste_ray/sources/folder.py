"""A folder of images by category, or an index file of images."""

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.found import count_of, hash_lines, listing_of, utf8
from xpaste_ray.sources.index_file import SUFFIXES, is_index_file, read_index
from xpaste_ray.storage import SCHEMES, Location

PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
CUTOUTS = (".png", ".webp")


class Folder:
    """What a folder, or an index file, lists. root: relative paths start there. contents: a fingerprint
    that is the same wherever it lies."""

    def __init__(self, place: Location, option: str, suffixes: tuple[str, ...] = PHOTOS) -> None:
        """option: where the user named it. suffixes: of the files that count. ConfigError if there is no such
        folder, or it is no index file."""
        self.notes: list[str] = []
        if is_index_file(place.name) and not place.is_dir():
            self.root = place.parent
            self.listing, self.contents = self._read_index(place, option)
        elif place.is_dir():
            self.root = place
            self.listing, self.contents = self._list(place, suffixes)
        else:
            raise ConfigError(
                f"{option}: {place} is neither a folder nor an index file ({', '.join(SUFFIXES)})"
            )

    def _read_index(self, place: Location, option: str) -> tuple[pa.Table, str]:
        table, contents, left_out = read_index(place, option, ("path", "category"), ("licence", "page"))
        if left_out:
            self.notes.append(f"{count_of(left_out, 'row')} of {place.name} left out: no path or no category")
        readable = self._readable(table["path"])
        if refused := len(table) - len(usable := table.filter(readable)):
            first = table.filter(pc.invert(readable))["path"][0].as_py()
            told = (
                f"paths of a kind that is not read, such as {first[:80]} (URLs are for a source of kind web)"
            )
            if not len(usable):
                raise ConfigError(f"{option}: {place} has only {told}")
            self.notes.append(f"{count_of(refused, 'row')} of {place.name} left out: {told}")
        table = usable
        return listing_of({name.replace("path", "uri"): table[name] for name in table.column_names}), contents

    @staticmethod
    def _readable(paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Whether each is a path, or an address that may be one of ours."""
        ours = pc.match_substring_regex(paths, f"^({'|'.join(SCHEMES)})://", ignore_case=True)
        return pc.or_(ours, pc.invert(pc.match_substring_regex(paths, "^[A-Za-z][A-Za-z0-9+.-]*://")))

    def _list(self, place: Location, suffixes: tuple[str, ...]) -> tuple[pa.Table, str]:
        found = place.files().items()
        files = {utf8(name): size for name, size in found if not is_hidden(name)}
        images = {name: size for name, size in files.items() if name.lower().endswith(suffixes)}
        inside = {name: size for name, size in images.items() if "/" in name}
        if outside := len(images) - len(inside):
            self.notes.append(f"{count_of(outside, 'image')} left out: not in a category's folder")
        if others := len(files) - len(images):
            self.notes.append(f"{count_of(others, 'file')} left out: not {', '.join(suffixes)}")
        categories = [name.partition("/")[0] for name in inside]
        listing = listing_of({"category": categories, "uri": list(inside)})
        return listing, hash_lines(f"{name}\0{size}" for name, size in inside.items())


def is_hidden(name: str) -> bool:
    """.DS_Store, ._photo.jpg and the like."""
    return any(part.startswith(".") for part in name.split("/"))
