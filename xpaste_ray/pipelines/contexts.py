"""`xpaste contexts`: labelled images in, images to paste on out (EM-Paste, section 3.2).

run.json                what it is made from, and the counts
captions/               a run of its own: the images' captions, if BLIP gives them
texts.parquet           every caption, and what became of it, see `contexts.texts.TEXTS`
images/                 a run of its own: generated images with their scores
kept/<fingerprint>/     those that a selection kept, see `context_keep`; contexts.json points at the current
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config.contexts import BlipCaptions, ContextSettings, TemplateCaptions
from xpaste_ray.contexts.texts import TEXTS, Captioned, context_units, rows_of_images, rows_of_templates
from xpaste_ray.errors import ConfigError, RunError, SchemaError
from xpaste_ray.fingerprints import hash_stream
from xpaste_ray.pipelines.context_inputs import ContextInputs, context_steps, resolve_contexts
from xpaste_ray.pipelines.context_keep import KeptContexts, kept_folder, pointer
from xpaste_ray.pipelines.context_work import CaptionWork, ContextWork
from xpaste_ray.pipelines.job import Progress, Summary, finish
from xpaste_ray.pipelines.scores import compact_scores, scores_recipe
from xpaste_ray.pipelines.steps import Step
from xpaste_ray.pipelines.unit_work import UnitWork
from xpaste_ray.pipelines.units import unit_names
from xpaste_ray.records import Unit
from xpaste_ray.runs import (
    RunDir,
    check_steps,
    json_bytes,
    made_by,
    open_parquet,
    open_run,
    read_json,
    remove_asides,
    remove_leftovers,
    whole_parquet,
    write_json,
)
from xpaste_ray.storage import Location

_READERS = 8
_ROWS_AT_ONCE = 4096


class ContextRun:
    """The places of a run of contexts."""

    def __init__(self, root: str | Path | Location) -> None:
        self.run = RunDir(root)
        self.root = self.run.root
        self.captions = RunDir(self.root / "captions")
        self.images = RunDir(self.root / "images")
        self.texts = self.root / "texts.parquet"
        self.kept = self.root / "kept"
        self.contexts_json = self.root / "contexts.json"

    def remove_leftovers(self) -> None:
        """Of its parts; those of the run itself are every job's."""
        for run in (self.captions, self.images):
            remove_leftovers(run)
        if self.root.is_local:
            remove_asides(self.kept.path)


def make_contexts(
    settings: ContextSettings, out: str | Path, progress: Progress, retry_failed: bool = False
) -> Summary:
    """Make, or finish, the contexts of the run in `out`. The same settings give the same bytes, however wide
    it goes and however often it was interrupted; another selection is made without a model.

    retry_failed: units with a rejection that may have passed are run again. ConfigError before anything
    starts if something cannot work; RunError if the run cannot go on.
    """
    began = time.perf_counter()
    with open_run(out, progress.say) as held:
        job = _open_job(settings, held.root, progress, retry_failed)
        return finish(held, job, settings.model_dump(mode="json"), progress, began)


def plan_contexts(settings: ContextSettings, out: str | Path, progress: Progress) -> None:
    """Tell what `make_contexts` would do, as far as captions are known, and write nothing."""
    job = _open_job(settings, out, progress)
    captions = job.caption_work()
    (captions if captions and not captions.is_done() else job.context_work()).show_plan()


def _open_job(
    settings: ContextSettings, out: str | Path | Location, progress: Progress, retry_failed: bool = False
) -> "_ContextJob":
    run, inputs = ContextRun(out), resolve_contexts(settings)
    for note in inputs.notes:
        progress.say(note)
    steps = context_steps(inputs)
    check_steps(run.run, {name: steps[name].settings for name in _made_steps(run)})
    return _ContextJob(run, inputs, steps, progress, retry_failed=retry_failed)


def _made_steps(run: ContextRun) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Another selection is kept beside the first."""
    if run.images.candidates.exists():
        return "captions", "texts", "source", "score"
    return ("captions",) if run.captions.candidates.exists() else ()


@dataclass(slots=True)
class _ContextJob:
    """The work on one run, from what its folder already has."""

    run: ContextRun
    inputs: ContextInputs
    steps: dict[str, Step]
    progress: Progress
    summary: Summary = field(default_factory=Summary)
    retry_failed: bool = False

    def is_done(self) -> bool:
        """Whether all files are there, and this selection is the current one."""
        run, captions = self.run, self.caption_work()
        if self.retry_failed or not (run.run.run_json.exists() and run.contexts_json.exists()):
            return False
        return (
            "contexts" in read_json(run.run.run_json).get("counts", {})
            and made_by(run.texts) == self.steps["texts"].fingerprint
            and (captions is None or captions.is_done())
            and (images := self.context_work()).is_done()
            and made_by(run.images.scores) == self._scores_recipe(images)
            and self._kept().is_sealed()
            and run.contexts_json.read_bytes() == json_bytes(pointer(run.root, self._kept().folder))
        )

    def make(self) -> None:
        """Captions, texts, images, scores, selection: what is missing of each."""
        self.run.remove_leftovers()
        captions = self.caption_work()
        changed = captions.make() if captions else set[str]()
        with _explained():
            self._write_texts(bool(changed))
            images = self.context_work()
        images.make()
        began = time.perf_counter()
        with _explained():
            recipe = self._scores_recipe(images)
            if made_by(self.run.images.scores) != recipe:
                self.progress.say("gathering scores")
                compact_scores(self.run.images, recipe)
            kept = self._kept()
            if not kept.is_sealed():
                self.progress.say("selecting")
                kept.seal(self._texts())
            write_json(self.run.contexts_json, pointer(self.run.root, kept.folder))
            self.summary.counts |= {**self._text_counts(), **kept.counts()}
        made = self.summary.counts["contexts"]["made"]
        self.summary.note("select", made, time.perf_counter() - began)

    def caption_work(self) -> UnitWork | None:
        """None where captions are given."""
        images, captions = self.inputs.images, self.inputs.settings.contexts.captions
        if images is None or not isinstance(captions, BlipCaptions):
            return None
        work = CaptionWork(self.inputs, images, captions, self.steps["captions"])
        return UnitWork(self.run.captions, work, self.progress, self.summary, self.retry_failed)

    def context_work(self) -> UnitWork:
        """Of the texts as they are now; of none while there are no texts."""
        texts = ""
        if self.run.texts.exists():
            with self.run.texts.open() as data:
                texts = hash_stream(data)
        work = ContextWork(self.inputs, self.steps, texts, self._units)
        return UnitWork(self.run.images, work, self.progress, self.summary, self.retry_failed)

    def _units(self) -> Iterator[Unit]:
        told, settings = self.inputs.settings.contexts, self.inputs.settings
        texts = iter(self._texts().to_pylist()) if self.run.texts.exists() else self._rows()
        made_by_source = self.steps["source"].fingerprint
        return context_units(texts, told.per_caption, told.source.unit_size, settings.seed, made_by_source)

    def _texts(self) -> pa.Table:
        return open_parquet(self.run.texts).read()

    def _write_texts(self, changed: bool) -> None:
        """changed: captions were made. ConfigError if no text can be used."""
        recipe = self.steps["texts"].fingerprint
        if changed or made_by(self.run.texts) != recipe:
            rows = list(self._rows())
            with whole_parquet(self.run.texts, TEXTS, recipe) as writer:
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    part = rows[start : start + _ROWS_AT_ONCE]
                    writer.write_table(pa.Table.from_pylist(part, schema=TEXTS))
        texts = self._texts()
        if not pc.any(pc.equal(texts["status"], "ok")).as_py():
            reasons = dict(sorted(_count(texts["reason"]).items()))
            raise ConfigError(
                f"no caption can be used: {reasons}; {self.run.texts} has each. For no_distractor, "
                "contexts.distractors may give words; for no_caption, look at the captions' names of images"
            )

    def _rows(self) -> Iterator[dict[str, Any]]:
        captions = self.inputs.settings.contexts.captions
        if isinstance(captions, TemplateCaptions):
            return rows_of_templates(captions.texts)
        return rows_of_images(self._captioned(), self.inputs.distractors, self.inputs.settings.seed)

    def _captioned(self) -> Iterator[Captioned]:
        """The chosen images with their captions, in order."""
        images, given = self.inputs.images, self.inputs.given
        assert images is not None  # templates have none, and nothing else has
        told = iter(()) if given else _made_captions(self.run.captions)
        for image in self.inputs.chosen:
            uri = images.uris[image]
            several, reason = (given.captions.get(uri, ()), None) if given else next(told)
            yield Captioned(images.key(image), uri, several, reason or (None if several else "no_caption"))

    def _text_counts(self) -> dict[str, dict[str, Any]]:
        """Of images and of captions: made, kept and rejected by reason."""
        texts = self._texts()
        captions = texts.filter(pc.is_valid(texts["caption"]))
        lost = texts.filter(pc.is_null(texts["caption"]))
        counts: dict[str, dict[str, Any]] = {"captions": _outcomes(len(captions), captions["reason"])}
        if self.inputs.images is not None and not isinstance(
            self.inputs.settings.contexts.captions, TemplateCaptions
        ):
            counts["images"] = _outcomes(len(self.inputs.chosen), lost["reason"])
        return counts

    def _scores_recipe(self, images: UnitWork) -> str:
        return scores_recipe(images.work.recipe, images.work.fingerprint("score"))

    def _kept(self) -> KeptContexts:
        folder = kept_folder(self.run.kept, self.run.images, self.steps["select"].fingerprint)
        return KeptContexts(folder, self.run.images, self.inputs.settings.contexts)


@contextmanager
def _explained() -> Iterator[None]:
    """A damaged file becomes a RunError that says what to do."""
    try:
        yield
    except (OSError, pa.ArrowInvalid, SchemaError) as error:
        raise RunError(
            f"a file of the run is damaged ({error}): remove it, and the same command makes it again"
        ) from None


def _made_captions(run: RunDir) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Captions and, where there are none, the reason, of each image in the order of the work list."""
    names = [unit.id for unit in unit_names(run)]
    with ThreadPoolExecutor(_READERS) as pool:
        for rows in pool.map(partial(_captions_of, run), names):
            yield from ((tuple(row["captions"] or ()), row["reason"]) for row in rows)


def _captions_of(run: RunDir, unit: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_parquet(run.unit_file(unit)).read(["captions", "reason"]).to_pylist()
    return rows


def _outcomes(made: int, reasons: pa.ChunkedArray) -> dict[str, Any]:
    rejected = dict(sorted(_count(reasons).items()))
    return {"made": made, "kept": made - sum(rejected.values()), "rejected": rejected}


def _count(reasons: pa.ChunkedArray) -> dict[str, int]:
    told = pc.value_counts(reasons.drop_null()).to_pylist()
    return {one["values"]: one["counts"] for one in told}
