"""Wikimedia Commons, through MediaWiki's API. https://www.mediawiki.org/wiki/API:Search"""

from collections.abc import Mapping, Sequence
from typing import Any

from xpaste_ray.categories import Category, display_name
from xpaste_ray.sources.search import MAX_PAGES, Api, licence_code
from xpaste_ray.sources.url_list import Found

ADDRESS = "https://commons.wikimedia.org/w/api.php"
_BATCH = 50  # for more at a time it makes no reduced images
_SIDE_PX = 1280  # of the reduced image that is fetched: one of Wikimedia's usual sizes
_MIMES = ("image/jpeg", "image/png", "image/webp")
_QUERY: Mapping[str, str | int] = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "generator": "search",
    "gsrnamespace": 6,  # files
    "gsrlimit": _BATCH,
    "prop": "imageinfo",
    "iiprop": "url|extmetadata|mime|size",
    "iiextmetadatafilter": "License|LicenseShortName",
    "iiurlwidth": _SIDE_PX,
    "iiurlheight": _SIDE_PX,
}


class Wikimedia:
    """licences: codes of Creative Commons, such as by-sa and cc0; all if there are none."""

    def __init__(self, api: Api, licences: Sequence[str] = ()) -> None:
        self._api, self._licences = api, licences

    def __call__(self, category: Category, count: int) -> list[Found]:
        found: dict[str, Found] = {}
        query = {**_QUERY, "gsrsearch": f"filetype:bitmap {display_name(category.name)}"}
        further: Mapping[str, Any] = {}
        for _ in range(MAX_PAGES):
            answer = self._api.get({**query, **further})
            if "error" in answer:
                told = answer["error"]
                raise self._api.failed(f"refused the search ({told.get('code')}: {told.get('info')})")
            pages = answer.get("query", {}).get("pages", [])
            for page in sorted(pages, key=lambda page: page.get("index", 0)):  # they come by id
                for info in page.get("imageinfo", ())[:1]:
                    one = self._found(info)
                    if one is not None:
                        found.setdefault(one.url, one)
            further = answer.get("continue", {})
            if len(found) >= count or not further:
                break
        return list(found.values())[:count]

    def _found(self, info: Mapping[str, Any]) -> Found | None:
        """None if it is no photograph, or of another licence."""
        url = info.get("thumburl") or info.get("url")
        told = info.get("extmetadata") or {}
        licence = next(
            (told[name]["value"] for name in ("License", "LicenseShortName") if name in told), None
        )
        if url is None or info.get("mime") not in _MIMES:
            return None
        if self._licences and licence_code(licence) not in self._licences:
            return None
        return Found(url, licence, info.get("descriptionurl"))
