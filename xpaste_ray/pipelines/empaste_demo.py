"""All of EM-Paste in one run: labelled images in; masks, contexts and a labelled dataset out.

foregrounds/    `xpaste foregrounds`: the pool, and annotations.json over the images
contexts/       `xpaste contexts`: images to paste on
dataset/        `xpaste compose`: of both, and of the images themselves
foregrounds.png, contexts.png, preview.jpg    to look at; the command adds report.html
"""

import time
from pathlib import Path

from xpaste_ray.config import ComposeSettings, EmPasteSettings
from xpaste_ray.contexts.sheet import draw_sheets
from xpaste_ray.masks import encode_png
from xpaste_ray.pipelines.context_show import shown_contexts
from xpaste_ray.pipelines.contexts import make_contexts
from xpaste_ray.pipelines.dataset import compose_dataset, open_job
from xpaste_ray.pipelines.foreground_picture import foreground_picture
from xpaste_ray.pipelines.foregrounds import make_foregrounds
from xpaste_ray.pipelines.job import Progress, Summary
from xpaste_ray.preview import draw_preview
from xpaste_ray.runs import RunDir, write_whole
from xpaste_ray.sources.labelled import open_labelled

FOREGROUNDS, CONTEXTS, DATASET = "foregrounds", "contexts", "dataset"
FOREGROUNDS_PNG, CONTEXTS_PNG, PREVIEW = "foregrounds.png", "contexts.png", "preview.jpg"


def run_empaste_demo(settings: EmPasteSettings, out: Path, progress: Progress) -> dict[str, Summary]:
    """Make, or finish, what the three commands make, in `out`. Summaries by the parts' folders. ConfigError
    before anything starts if something cannot work."""
    summaries: dict[str, Summary] = {}
    for part, make in ((FOREGROUNDS, make_foregrounds), (CONTEXTS, make_contexts)):
        progress.say(part)
        summaries[part] = make(settings, out / part, progress)
    _draw(settings, out)
    progress.say(DATASET)
    began = time.perf_counter()
    settings = settings.model_copy(update={"compose": composed_of(settings, out)})
    job = open_job(settings, out / FOREGROUNDS)
    summaries[DATASET] = compose_dataset(job, settings, out / DATASET, progress)
    summaries[DATASET].wall_seconds = time.perf_counter() - began
    if not (out / PREVIEW).exists():
        draw_preview(out / DATASET, out / PREVIEW)
    return summaries


def composed_of(settings: EmPasteSettings, out: Path) -> ComposeSettings:
    """What the dataset is composed by: on the labelled images, with the masks that were found, and on the
    contexts."""
    told = settings.foregrounds.images
    images = told.images or open_labelled(told).root
    return settings.compose.model_copy(
        update={
            "backgrounds": str(out / FOREGROUNDS / "annotations.json"),
            "background_images": str(images),
            "contexts": str(out / CONTEXTS),
        }
    )


def _draw(settings: EmPasteSettings, out: Path) -> None:
    """What is to be looked at, unless it is there."""
    if not (out / FOREGROUNDS_PNG).exists():
        picture = foreground_picture(RunDir(out / FOREGROUNDS), settings)
        write_whole(out / FOREGROUNDS_PNG, encode_png(picture))
    if not (out / CONTEXTS_PNG).exists():
        page = next(draw_sheets(shown_contexts(str(out / CONTEXTS), 0, 6)))
        write_whole(out / CONTEXTS_PNG, encode_png(page))
