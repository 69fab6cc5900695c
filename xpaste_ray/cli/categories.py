"""`--categories FILE`: what several commands take it for."""

from typing import Annotated

import typer

CategoriesOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Text: the categories that are wanted, by their names in the preset's vocabulary, one a line. "
        ".json or .yaml: a vocabulary of your own, all of it.",
    ),
]


def categories_given(file: str | None) -> dict[str, object]:
    """The settings that the option means, by path. ConfigError if the file is no list of names."""
    from xpaste_ray.categories import is_vocabulary_file, read_names

    if file is None:
        return {}
    if is_vocabulary_file(file):
        return {"categories.vocabulary": file, "categories.names": "all"}
    return {"categories.names": read_names(file)}


def check_categories(file: str | None, vocabulary: str) -> None:
    """ConfigError if a text file's names are all unknown to the vocabulary."""
    from xpaste_ray.categories import check_some_known, is_vocabulary_file, read_names

    if file is not None and not is_vocabulary_file(file):
        check_some_known(read_names(file), file, vocabulary)
