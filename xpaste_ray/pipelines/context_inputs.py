"""What contextual backgrounds are made from, resolved and checked, and the steps that make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpaste_ray.categories import Category, display_name, load_vocabulary
from xpaste_ray.config.contexts import BlipCaptions, ContextSettings, GivenCaptions, TemplateCaptions
from xpaste_ray.contexts.distractors import Distractors, DistractorTable, load_distractors
from xpaste_ray.contexts.given import GivenTexts, read_captions
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.models.folders import (
    DIFFUSERS_FILE,
    OPEN_CLIP_FILE,
    TRANSFORMERS_FILE,
    model_folder,
    model_name,
)
from xpaste_ray.pipelines.steps import Step, chain
from xpaste_ray.rng import int_seed_for
from xpaste_ray.sources.found import some_of
from xpaste_ray.sources.labelled import LabelledImages, open_labelled

# Raised when the code of a step changes what it writes for the same settings.
_ALGORITHMS = {"captions": 1, "texts": 1, "source": 1, "score": 1, "select": 1}


@dataclass(frozen=True, slots=True)
class ContextInputs:
    """chosen: numbers of the images that are captioned. targets: the classes that must not be shown. given:
    captions that are there already. ..._model: name and hash of the files. embedding_dim: numbers in an
    embedding of CLIP."""

    settings: ContextSettings
    images: LabelledImages | None
    chosen: tuple[int, ...]
    targets: tuple[Category, ...]
    table: DistractorTable
    given: GivenTexts | None
    caption_model: str | None
    source_model: str
    score_model: str
    embedding_dim: int

    @property
    def distractors(self) -> Distractors:
        return Distractors(self.targets, self.table)

    @property
    def class_texts(self) -> list[str]:
        template = self.settings.contexts.score.template
        return [template.format(name=display_name(target.name)) for target in self.targets]

    @property
    def notes(self) -> list[str]:
        """What a person should know before the work begins, a line each."""
        notes = [*(self.images.notes if self.images else ()), *(self.given.notes if self.given else ())]
        if self.images and len(self.chosen) < len(self.images):
            notes.append(f"{len(self.chosen)} of the {len(self.images)} images are captioned (fraction)")
        captions = self.settings.contexts.captions
        if isinstance(captions, TemplateCaptions):
            rule = self.distractors
            named = [text for text in captions.texts if rule.mentions(text)]
            if named:
                notes.append(f"texts that name target classes, and are taken as they are: {some_of(named)}")
        elif lacking := self.distractors.without_distractor():
            notes.append(
                f"no distractor for {some_of(lacking)}: captions that mention them are rejected; "
                "contexts.distractors may give their supercategories, and more words"
            )
        return notes


def resolve_contexts(settings: ContextSettings) -> ContextInputs:
    """Find and check images, captions and models. ConfigError."""
    told = settings.contexts
    images = open_labelled(told.images, "contexts.images") if told.images else None
    chosen = chosen_images(images, told.fraction, settings.seed) if images else ()
    given = caption_model = None
    match told.captions:
        case GivenCaptions():
            given = read_captions(told.captions, images.uris if images else ())
        case BlipCaptions(model=model):
            folder = model_folder(model, "contexts.captions.model", TRANSFORMERS_FILE)
            caption_model = model_name(model, folder)
    source = model_folder(told.source.model, "contexts.source.model", DIFFUSERS_FILE)
    score = model_folder(told.score.model, "contexts.score.model", OPEN_CLIP_FILE)
    return ContextInputs(
        settings,
        images,
        chosen,
        _targets(told.targets, images),
        load_distractors(told.distractors),
        given,
        caption_model,
        model_name(told.source.model, source),
        model_name(told.score.model, score),
        embedding_dim(score, "contexts.score.model"),
    )


def chosen_images(images: LabelledImages, fraction: float, seed: int) -> tuple[int, ...]:
    """That part of the images, at least one, by numbers that are keyed by the images: of a larger part, all
    of a smaller one are."""
    count = max(1, round(fraction * len(images)))
    order = sorted(range(len(images)), key=lambda image: int_seed_for(seed, "fraction", images.key(image)))
    return tuple(sorted(order[:count]))


def _targets(vocabulary: str | None, images: LabelledImages | None) -> tuple[Category, ...]:
    if vocabulary is None:
        return images.categories if images else ()
    try:
        return load_vocabulary(vocabulary)
    except ConfigError as error:
        raise ConfigError(str(error).replace("categories.vocabulary", "contexts.targets", 1)) from None


def context_steps(inputs: ContextInputs) -> dict[str, Step]:
    """In order. Recipes are keyed as the settings are, for messages."""
    told, seed = inputs.settings.contexts, inputs.settings.seed
    images = inputs.images
    recipes: dict[str, dict[str, Any]] = {
        "captions": {
            "images": {**images.recipe, "contents": images.contents} if images else None,
            "fraction": told.fraction,
            "captions": _captions_recipe(inputs),
        },
        "texts": {"distractors": inputs.table.recipe, "targets": _lines(inputs.targets)},
        "source": {
            "source": {
                **told.source.model_dump(mode="json", exclude={"weight", "frequencies"}),
                "model": inputs.source_model,
            },
            "per_caption": told.per_caption,
        },
        "score": {"score": {**told.score.model_dump(mode="json"), "model": inputs.score_model}},
        "select": {"select": told.select.model_dump(mode="json"), "image_format": told.image_format},
    }
    drawn = {name: {"seed": seed} for name in ("captions", "texts", "source")}
    return chain(
        {
            name: {"algorithm": _ALGORITHMS[name], "contexts": recipe, **drawn.get(name, {})}
            for name, recipe in recipes.items()
        }
    )


def _captions_recipe(inputs: ContextInputs) -> dict[str, Any]:
    told = inputs.settings.contexts.captions.model_dump(mode="json")
    if inputs.caption_model:
        told["model"] = inputs.caption_model
    if inputs.given:
        told["file"] = inputs.given.contents
    return told


def _lines(targets: Sequence[Category]) -> list[str]:
    return [" | ".join((target.name, *target.synonyms)) for target in targets]
