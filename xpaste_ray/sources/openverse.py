"""Openverse: openly licensed images of many collections. https://api.openverse.org/v1/"""

from collections.abc import Sequence
from pathlib import PurePosixPath

from xpaste_ray.categories import Category, display_name
from xpaste_ray.sources.search import MAX_PAGES, Api
from xpaste_ray.sources.url_list import Found

ADDRESS = "https://api.openverse.org/v1/images/"
_PAGE = 20  # the most for those without a key
_OTHER_SUFFIXES = (".gif", ".svg", ".tif", ".tiff", ".pdf", ".djvu")


class Openverse:
    """licences: codes of Creative Commons, such as by-sa and cc0; all if there are none."""

    def __init__(self, api: Api, licences: Sequence[str] = ()) -> None:
        self._api, self._licences = api, licences

    def __call__(self, category: Category, count: int) -> list[Found]:
        found: list[Found] = []
        for page in range(1, MAX_PAGES + 1):
            parameters: dict[str, str | int] = {
                "q": display_name(category.name),
                "page": page,
                "page_size": _PAGE,
            }
            if self._licences:
                parameters["license"] = ",".join(self._licences)
            answer = self._api.get(parameters)
            if not isinstance(answer.get("results"), list):
                raise self._api.failed("answered without results: is that its address?")
            found += [
                Found(one["url"], _licence(one), one.get("foreign_landing_url"))
                for one in answer["results"]
                if one.get("url") and _may_be_photo(one["url"])
            ]
            if len(found) >= count or page >= int(answer.get("page_count", 1)):
                break
        return found[:count]


def _may_be_photo(url: str) -> bool:
    """By the end of its path; many have none that says anything."""
    return PurePosixPath(url.partition("?")[0]).suffix.lower() not in _OTHER_SUFFIXES


def _licence(result: dict[str, str | None]) -> str | None:
    """ "cc-by-sa-2.0"; "cc0-1.0"; "pdm-1.0" """
    code = result.get("license")
    if not code:
        return None
    name = code if code in ("cc0", "pdm") else f"cc-{code}"
    version = result.get("license_version")
    return f"{name}-{version}" if version else name
