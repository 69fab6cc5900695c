"""A study: detectors that are trained on different data, and compared."""

import re
from itertools import product
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from xpaste_ray.config.base import PositiveInt, Section

MADE_BY = ("build", "foregrounds", "of", "merge", "take", "path")
"""What a pool can come from; a pool has one of these."""

# Set by the study itself, so that no `set` may.
_TAKEN = {
    "seed": "the study's seeds are those of the trainings",
    "compose.backgrounds": "data.train, or the arm's own train, says it",
    "compose.background_images": "data.train_images says it",
    "compose.contexts": "the arm's contexts say it",
}


def _usable_name(name: str) -> str:
    """It names a folder, too."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", name):
        raise ValueError("names are letters, digits, . - and _, and begin with a letter or digit")
    return name


def _text(value: Any) -> Any:
    """YAML reads the name 21 as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_text), AfterValidator(_usable_name)]
Changes = dict[str, Any]
"""Settings by their paths, such as train.iterations, as `--set` has them."""


class StudyData(Section):
    """train: the labelled images that every arm is trained on, as they are or with something pasted on them,
    unless it has its own; a found pool's name means the images that it was found in, with its masks. test:
    what all are judged on. val: what is looked at while they train. images: with image-level labels, for
    pools and contexts that do not say theirs. The others: where images are, if they are not found."""

    train: str | None = None
    train_images: str | None = None
    test: str | None = None
    test_images: str | None = None
    val: str | None = None
    val_images: str | None = None
    images: str | None = None


class StudyPool(Section):
    """A pool of instances, or found masks; it is made once, whatever number of arms use it.

    build: a preset or settings file of `xpaste pool build`. foregrounds: one of `xpaste foregrounds`; images:
    the labelled images that it looks at, if not data.images. of: another pool of the study that is built or
    found; the same candidates are chosen from by other rules, and nothing is computed again. merge: several
    pools of the study as one. take: a part of another: at most `per_category` instances of each category,
    drawn at random. path: a pool that is there already. set: changes of the settings.
    """

    build: str | None = None
    foregrounds: str | None = None
    images: str | None = None
    of: Name | None = None
    merge: tuple[Name, ...] | None = None
    take: Name | None = None
    per_category: PositiveInt | None = None
    path: str | None = None
    set: Changes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> "StudyPool":
        told = [name for name in MADE_BY if getattr(self, name) is not None]
        if len(told) != 1:
            found = " and ".join(told) or "none"
            raise ValueError(f"needs one of {', '.join(MADE_BY)}, and has {found}")
        if (self.per_category is not None) != (self.take is not None):
            raise ValueError("take and per_category need each other")
        if self.images is not None and self.foregrounds is None:
            raise ValueError("images goes with foregrounds")
        if self.set and self.origin not in ("build", "foregrounds", "of"):
            raise ValueError(f"{self.origin} has no settings that set could change")
        if self.merge is not None and len(set(self.merge)) < 2:
            raise ValueError("merge needs two pools or more")
        return self

    @property
    def origin(self) -> str:
        return next(name for name in MADE_BY if getattr(self, name) is not None)

    @property
    def parents(self) -> tuple[str, ...]:
        """The pools of the study that it is made from."""
        return self.merge or tuple(name for name in (self.of, self.take) if name is not None)


class StudyContexts(Section):
    """Images without labels to paste on. make: a preset or settings file of `xpaste contexts`, and images:
    what is captioned, if not data.images. path: what is there already: such a run, a folder, or a colour."""

    make: str | None = None
    images: str | None = None
    path: str | None = None
    set: Changes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> "StudyContexts":
        if (self.make is None) == (self.path is None):
            raise ValueError("needs one of make and path")
        if self.path is not None and (self.images is not None or self.set):
            raise ValueError("images and set go with make")
        return self


class Arm(Section):
    """What a detector is trained on, where it differs from the study's own.

    paste: the pool whose instances are pasted. contexts: what is pasted on beside the training images. mix:
    datasets that stand beside these, each with its share of all images. train: another dataset to train on
    than data.train; both may name a found pool, as that. set: changes of the settings.
    """

    paste: Name | None = None
    contexts: Name | None = None
    mix: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    train: str | None = None
    train_images: str | None = None
    set: Changes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _images_of_own(self) -> "Arm":
        if self.train_images is not None and self.train is None:
            raise ValueError("train_images goes with the arm's own train")
        return self


class StudySettings(Section):
    """Arms times seeds.

    preset: of all arms, its sections compose and train, a name or a settings file; set: changes of it. arms:
    by name. grid: what can be varied, by name, each choice an arm by its own; every combination of them
    becomes an arm, such as bar=21,blend=hard. baseline: the arm that the others are compared with.
    """

    name: Name
    title: str = ""
    preset: str
    set: Changes = Field(default_factory=dict)
    data: StudyData = StudyData()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    baseline: str | None = None
    pools: dict[Name, StudyPool] = Field(default_factory=dict)
    contexts: dict[Name, StudyContexts] = Field(default_factory=dict)
    arms: dict[Name, Arm] = Field(default_factory=dict)
    grid: dict[Name, dict[Name, Arm]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> "StudySettings":
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: needs one at least, and each once")
        if any(not choices for choices in self.grid.values()):
            raise ValueError("grid: each of its parts needs one choice at least")
        arms = self.all_arms
        if not arms:
            raise ValueError("arms: there is none, and no grid: say what is compared, as arms: {real: {}}")
        if self.baseline is not None and self.baseline not in arms:
            raise ValueError(f"baseline: there is no arm {self.baseline!r}, only {', '.join(arms)}")
        self._check_names(arms)
        self._check_sets(arms)
        return self

    @property
    def all_arms(self) -> dict[str, Arm]:
        """By name: those that are named, then the grid's. ValueError if two choices of the grid set the
        same."""
        found = dict(self.arms)
        if self.grid:
            for choices in product(*(part.items() for part in self.grid.values())):
                pairs = zip(self.grid, choices, strict=True)
                name = ",".join(f"{part}={choice}" for part, (choice, _) in pairs)
                found[name] = _joined(name, [arm for _, arm in choices])
        return found

    def _check_names(self, arms: dict[str, Arm]) -> None:
        """ValueError for a pool or contexts that the study does not have, or that is made from itself."""
        for name, arm in arms.items():
            for what, told, known in (
                ("paste", arm.paste, self.pools),
                ("contexts", arm.contexts, self.contexts),
            ):
                if told is not None and told not in known:
                    raise ValueError(f"arms.{name}.{what}: there is no {told!r} in {_place(what)}")
        for name in self.pools:
            self.pools_needed([name])

    def _check_sets(self, arms: dict[str, Arm]) -> None:
        of_arms = ((f"arms.{name}.set", arm.set) for name, arm in arms.items())
        for where, changes in (("set", self.set), *of_arms):
            for path in changes:
                if path in _TAKEN:
                    raise ValueError(f"{where}.{path}: {_TAKEN[path]}")

    def pools_needed(self, names: list[str]) -> list[str]:
        """Those and what they are made from, in the order of making. ValueError if one is not there, or is
        made from itself."""
        order: list[str] = []

        def add(name: str, users: tuple[str, ...]) -> None:
            if name in users:
                raise ValueError(f"pools.{name}: it is made from itself ({' from '.join((*users, name))})")
            for parent in self.pools[name].parents:
                if parent not in self.pools:
                    raise ValueError(f"pools.{name}: there is no pool {parent!r}")
                add(parent, (*users, name))
            if self.pools[name].of is not None:
                self._check_chosen_again(name)
            if name not in order:
                order.append(name)

        for name in names:
            add(name, ())
        return order

    def _check_chosen_again(self, name: str) -> None:
        parent = self.pools[name].of or ""
        if self.pools[parent].origin not in ("build", "foregrounds"):
            raise ValueError(
                f"pools.{name}.of: {parent} is no run with candidates: name a pool of build or foregrounds"
            )


def _place(what: str) -> str:
    return "pools" if what == "paste" else what


def _joined(name: str, choices: list[Arm]) -> Arm:
    """All that the choices say. ValueError if two say the same."""
    told: dict[str, Any] = {}
    for choice in choices:
        for field in choice.model_fields_set:
            value = getattr(choice, field)
            if isinstance(value, dict):
                known = told.setdefault(field, {})
                if both := sorted(set(known) & set(value)):
                    raise ValueError(f"grid, {name}: two of its choices give {field}.{both[0]}")
                known |= value
            elif field in told:
                raise ValueError(f"grid, {name}: two of its choices give {field}")
            else:
                told[field] = value
    return Arm(**told)
