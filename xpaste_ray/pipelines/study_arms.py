"""From a study's arms to what a training needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import Backgrounds, resolve_source
from xpaste_ray.config import Arm, StudySettings, TrainSettings, load
from xpaste_ray.config.study import StudyData
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.study_data import MadePool, context_settings, pool_settings
from xpaste_ray.pipelines.train_detector import TrainingData


@dataclass(frozen=True, slots=True)
class MadeData:
    """What arms name, where it is by now."""

    pools: Mapping[str, MadePool]
    contexts: Mapping[str, str]


def check_study(study: StudySettings) -> None:
    """ConfigError for whatever is wrong with the settings of any pool, contexts or arm. Needs no model."""
    needs_train = not all(arm.train for arm in study.all_arms.values())
    for option, needed in (("train", needs_train), ("test", True)):
        if needed and getattr(study.data, option) is None:
            raise ConfigError(f"data.{option} is missing: set it, as by --set data.{option}=FILE")
    for name in study.pools:
        pool_settings(study, name)
    for name in study.contexts:
        context_settings(study, name)
    for name, arm in study.all_arms.items():
        settings = arm_settings(study, name, arm, None)
        _check_arm(study, name, arm, settings)


def _check_arm(study: StudySettings, name: str, arm: Arm, settings: TrainSettings) -> None:
    rule = settings.compose.copy_rule
    if arm.paste is not None and not settings.compose.needs_pool:
        raise ConfigError(
            f"arm {name}: paste: {arm.paste}, but compose.copy_rule={rule} pastes nothing of a pool: set it "
            "to pool or both, or leave paste out"
        )
    if arm.paste is None and settings.compose.needs_pool and rule not in ("pool", "both"):
        raise ConfigError(
            f"arm {name}: compose.copy_rule={rule} pastes instances of a pool: name one by paste"
        )
    if sum(arm.mix.values()) >= 1:
        raise ConfigError(f"arm {name}: the shares of mix are 1 or more together: the rest is of train")
    for dataset in (arm.train or study.data.train, *arm.mix):
        if dataset in study.pools and not _has_masks(study, dataset):
            raise ConfigError(
                f"arm {name}: pool {dataset} has no labelled images: only pools that are found in images "
                f"(foregrounds) have; a folder of that name is written ./{dataset}"
            )


def _has_masks(study: StudySettings, name: str) -> bool:
    pool = study.pools[name]
    return pool.origin == "foregrounds" or (
        pool.of is not None and study.pools[pool.of].origin == "foregrounds"
    )


def arm_pools(study: StudySettings, arm: Arm) -> list[str]:
    """Those that an arm needs."""
    named = (arm.paste, arm.train or study.data.train, *arm.mix)
    return list(dict.fromkeys(name for name in named if name is not None and name in study.pools))


def arm_settings(study: StudySettings, name: str, arm: Arm, made: MadeData | None) -> TrainSettings:
    """made: None to look at the settings only. ConfigError that names the arm."""
    values: dict[str, Any] = {**study.set, **arm.set}
    if made is not None:
        own = arm if arm.train is not None else study.data
        found = own.train in made.pools
        values |= {
            "compose.backgrounds": str(_labelled(made, own.train or "")) if found else own.train,
            "compose.background_images": None if found else own.train_images,
            "compose.contexts": None if arm.contexts is None else made.contexts[arm.contexts],
        }
    try:
        return load(TrainSettings, study.preset, (), values)
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from None


def training_data(study: StudySettings, arm: Arm, made: MadeData) -> TrainingData:
    mix = tuple(
        (str(_labelled(made, name)) if name in made.pools else name, share) for name, share in arm.mix.items()
    )
    paste = None if arm.paste is None else made.pools[arm.paste].folder
    return TrainingData(paste, mix, study.data.val, study.data.val_images)


def _labelled(made: MadeData, pool: str) -> Path:
    folder = made.pools[pool].labelled
    assert folder is not None  # see `check_study`
    return folder


def check_given(study: StudySettings) -> None:
    """ConfigError if images to train on that should be there already are not."""
    given: list[StudyData | Arm] = [study.data, *study.all_arms.values()]
    for told in given:
        if told.train is not None and told.train not in study.pools:
            resolve_source(told.train, told.train_images)


def open_test(study: StudySettings) -> Backgrounds:
    """What every arm is judged on. ConfigError that names the option."""
    place = study.data.test or ""
    try:
        source = resolve_source(place, study.data.test_images)
        if source.annotation_file() is None:
            raise ConfigError(
                f"{place} has no annotations: give a COCO or LVIS file, or a folder that has one"
            )
        return index_backgrounds(source)
    except ConfigError as error:
        text = str(error).removeprefix("backgrounds: ").replace("--images", "data.test_images")
        raise ConfigError(f"data.test: {text}") from None
