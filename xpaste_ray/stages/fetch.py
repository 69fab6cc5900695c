"""Source stage: prompts with URLs in, one image each out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xpaste_ray.config import FetchedSource
from xpaste_ray.errors import RowError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pictures.usable import read_picture
from xpaste_ray.records import Candidate
from xpaste_ray.runs import RunDir
from xpaste_ray.storage import Location
from xpaste_ray.web.fetch import Fetched, Fetcher, Limits
from xpaste_ray.web.pace import LocalPace, Pace
from xpaste_ray.web.store import add_fetched, read_fetched


class FetchStage:
    """Fetches a unit's URLs at the same time, keeps what came in the run, and decodes it.

    The bytes are kept before any of them is decoded, and are read from there from then on; see
    `web.store`. Reasons of `Fetcher`, of `read_picture`, and "no_url". pace: shared with other actors; one
    of its own if there is none.
    """

    def __init__(self, settings: FetchedSource, run: RunDir, pace: Pace | None = None) -> None:
        self._settings, self._run = settings, run
        self._fetch = Fetcher(limits_of(settings), pace or LocalPace(settings.requests_per_host_s))
        self._file: Location | None = None

    def begin_unit(self, unit: str) -> None:
        """Candidates of this unit come next, all together or one by one."""
        self._file = self._run.fetched_file(unit)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        assert self._file is not None, "begin_unit comes first"
        urls = {one.prompt.candidate_id: one.prompt.uri for one in candidates if one.prompt.uri}
        fetched = read_fetched(self._file, urls)
        missing = [candidate_id for candidate_id in urls if candidate_id not in fetched]
        if missing:
            came = self._fetch([urls[candidate_id] for candidate_id in missing])
            new = dict(zip(missing, came, strict=True))
            add_fetched(self._file, new)
            fetched |= new
        return [self._made(one, fetched.get(one.prompt.candidate_id)) for one in candidates]

    def _made(self, candidate: Candidate, fetched: Fetched | None) -> Candidate:
        if fetched is None or fetched.body is None:
            reason = fetched.reason if fetched else "no_url"
            transient = fetched is not None and fetched.transient
            return replace(candidate, status="rejected", reason=reason, transient=transient)
        known = replace(candidate, content_hash=hash_bytes(fetched.body))
        try:
            return replace(known, image=self._decoded(fetched.body))
        except RowError as error:
            return replace(known, status="rejected", reason=error.reason)

    def _decoded(self, body: bytes) -> np.ndarray:
        return read_picture(body, self._settings.max_side_px, self._settings.min_side_px)


def limits_of(settings: FetchedSource) -> Limits:
    return Limits(
        settings.timeout_s,
        settings.max_bytes,
        settings.max_redirects,
        settings.retries,
        settings.connections,
        settings.allow_private,
        settings.contact,
    )
