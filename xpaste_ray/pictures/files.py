"""An image file's bytes, from wherever it lies."""

from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.pictures.headers import image_format
from xpaste_ray.storage import Location, locate

MAX_FILE_BYTES = 512 * 1024**2
_MAGIC_BYTES = 12


def file_at(root: Location, uri: str) -> Location:
    """uri: relative to the root, or an absolute path, or an address. RowError "bad_path" for an address of a
    kind that nothing is read from."""
    try:
        return locate(uri) if "://" in uri or uri.startswith("/") else root / uri
    except ConfigError as error:
        raise RowError("bad_path", str(error)) from None


def read_file(place: Location) -> bytes:
    """An image file's bytes. RowError "file_too_large", or "unsupported_format" before much is read;
    FileNotFoundError; StorageError."""
    with place.open() as file:
        head = file.read(_MAGIC_BYTES)
        if head:
            image_format(head)
        if file.size() > MAX_FILE_BYTES:
            raise RowError("file_too_large")
        file.seek(0)
        data: bytes = file.read()
    return data
