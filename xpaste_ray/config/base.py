"""What every section of the settings shares."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Refuses what it does not know, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def usable_template(template: str) -> str:
    """A template has {name} and no other field."""
    try:
        if template.format(name="\0") == template.format(name=""):
            raise ValueError("has no {name}")
    except (KeyError, IndexError) as error:
        raise ValueError(f"has the unknown field {{{error.args[0]}}}; only {{name}} is filled in") from None
    return template


Template = Annotated[str, AfterValidator(usable_template)]

Dtype = Literal["float32", "float16", "bfloat16"]
