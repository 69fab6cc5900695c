"""From what a user writes to contexts: images that were made to paste on."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from xpaste_ray.backgrounds.mixed import MixedBackgrounds
from xpaste_ray.backgrounds.reader import Backgrounds
from xpaste_ray.backgrounds.resolve import open_place, resolve_source
from xpaste_ray.backgrounds.sources import Source, parse_colours
from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import read_json
from xpaste_ray.storage import Location, locate

POINTER = "contexts.json"
"""In a run of `xpaste contexts`: {"current": FOLDER}, relative to the run, with the kept ones in `images`."""

_RUN_RECORD = "run.json"


def with_contexts(
    backgrounds: Backgrounds | MixedBackgrounds,
    text: str | Path | None,
    open_source: Callable[[Source], Backgrounds],
) -> Backgrounds | MixedBackgrounds:
    """The backgrounds and the contexts that `text` means; themselves if it is None.

    open_source: indexes a source, if need be. ConfigError if contexts cannot be had, or are there already.
    """
    if text is None:
        return backgrounds
    if isinstance(backgrounds, MixedBackgrounds):
        raise ConfigError("contexts: these backgrounds have contexts already: give them once")
    try:
        contexts = open_source(resolve_contexts(text))
    except ConfigError as error:  # in words about backgrounds
        raise ConfigError(f"contexts: {str(error).removeprefix('backgrounds: ')}") from None
    return MixedBackgrounds(backgrounds, contexts)


def resolve_contexts(text: str | Path, cache_dir: Path | None = None) -> Source:
    """The source that `text` means: a run of `xpaste contexts`, whose kept images it is, or anything that
    `resolve_source` knows, such as a folder of images.

    ConfigError as there, if a run has no contexts yet, or if its pointer is damaged.
    """
    if text == "embedded:photos" or (isinstance(text, str) and parse_colours(text)):
        return resolve_source(text)
    run = locate(text)
    pointer = run / POINTER
    if not pointer.is_file():
        if (run / _RUN_RECORD).is_file():
            raise ConfigError(
                f"{run} is a run that has no contexts (yet): run the `xpaste contexts` that began "
                "it again, or give a folder of images"
            )
        return resolve_source(text, cache_dir=cache_dir)
    return open_place(run / _current(pointer) / "images", None, None, cache_dir)


def _current(pointer: Location) -> str:
    current = read_json(pointer).get("current")
    if not isinstance(current, str) or PurePosixPath(current).is_absolute() or ".." in current.split("/"):
        raise ConfigError(f"{pointer} is damaged: run the command that made {pointer.parent} again")
    return current
