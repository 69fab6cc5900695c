"""`xpaste pool info | show | export | import | merge`: sealed pools as they are, and in and out of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xpaste_ray.cli.app import CacheOption, pool_app
from xpaste_ray.errors import ConfigError

if TYPE_CHECKING:
    from xpaste_ray.categories import Category
    from xpaste_ray.storage import Location

PoolArgument = Annotated[
    str,
    typer.Argument(metavar="POOL", help="A run with a sealed pool, or a pool's folder; s3:// and gs:// too."),
]
NewPoolOption = Annotated[str, typer.Option(help="Folder of the new pool, s3:// or gs://...; a new one.")]
VocabularyOption = Annotated[
    str | None,
    typer.Option(metavar="lvis|FILE", help="Whose ids and class numbers the categories have; by name."),
]


@pool_app.command("info")
def pool_info(
    pool: PoolArgument,
    score: Annotated[str, typer.Option(help="Which score to show.")] = "clip_logit",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    cache_dir: CacheOption = None,
) -> None:
    """Counts and score histograms by category and by source."""
    import dataclasses
    import json

    from xpaste_ray.pool import open_pool
    from xpaste_ray.pool.stats import describe
    from xpaste_ray.report_pool import print_pool_info

    info = describe(open_pool(pool), score)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(info), indent=2))
    else:
        print_pool_info(info, pool)


@pool_app.command("show")
def pool_show(
    pool: PoolArgument,
    out: Annotated[Path, typer.Option(help="PNG file to write; more pages get a number: sheet-2.png.")],
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; repeatable. All if not given.")
    ] = None,
    per_category: Annotated[
        int, typer.Option(min=1, max=32, help="How many instances of each, from the best to the worst.")
    ] = 8,
    cache_dir: CacheOption = None,
) -> None:
    """A contact sheet: cut-outs by category, with score and source under each."""
    from xpaste_ray.masks import encode_png
    from xpaste_ray.pool import open_pool
    from xpaste_ray.pool.sheet import draw_sheets
    from xpaste_ray.runs import write_whole

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: give a file name that ends in .png")
    cells = pages = 0
    for pages, sheet in enumerate(draw_sheets(open_pool(pool), category or (), per_category), 1):
        file = out if pages == 1 else out.with_stem(f"{out.stem}-{pages}")
        write_whole(file, encode_png(sheet.image))
        cells += sheet.cells
    if not pages:
        raise ConfigError(f"{pool} has no instances to show")
    typer.echo(f"{cells} instances on {pages} {'page' if pages == 1 else 'pages'}: {out}")


@pool_app.command("export")
def pool_export(
    pool: PoolArgument,
    out: Annotated[str, typer.Option(help="A new folder, s3:// or gs://...")],
    vocabulary: VocabularyOption = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Paths in index.json start at the folder: for one that moves.")
    ] = False,
    cache_dir: CacheOption = None,
) -> None:
    """RGBA images, the index that X-Paste's training code reads, and their provenance."""
    from xpaste_ray.pool import open_pool
    from xpaste_ray.pool.export import export_pool, for_vocabulary
    from xpaste_ray.pool.write import check_new
    from xpaste_ray.report import CountingProgress
    from xpaste_ray.storage import locate

    opened, folder = open_pool(pool), locate(out)
    check_new(folder)
    categories = _vocabulary(vocabulary)
    if categories is not None:
        opened, categories = for_vocabulary(opened, categories)
    with CountingProgress("export", len(opened), "images") as progress:
        export_pool(opened, folder, categories, relative, lambda _: progress.add(1))
    typer.echo(f"{len(opened)} images and index.json in {out}")


@pool_app.command("import")
def pool_import(
    given: Annotated[
        str,
        typer.Argument(
            metavar="DIR|INDEX.json",
            help="An export, an index of X-Paste's, or a folder with a folder of RGBA images a category.",
        ),
    ],
    out: NewPoolOption,
    vocabulary: VocabularyOption = None,
    object_rule: Annotated[
        Literal["outer-contour", "component"],
        typer.Option("--object", help="What is kept of images that are not cleaned yet."),
    ] = "outer-contour",
    max_side_px: Annotated[int, typer.Option(min=8, max=2048, help="Longer sides are reduced.")] = 256,
    encoding: Annotated[Literal["raw", "jpeg"], typer.Option(help="How pixels are kept.")] = "raw",
    jpeg_quality: Annotated[int, typer.Option(min=1, max=100)] = 95,
) -> None:
    """A pool of cut-outs that exist as files. What is not usable is counted, and told in rejects.parquet."""
    from xpaste_ray.config import CutoutSettings
    from xpaste_ray.pool.importing import import_pool, plan_import
    from xpaste_ray.report import CountingProgress
    from xpaste_ray.report_pool import print_new_pool
    from xpaste_ray.storage import locate

    settings = CutoutSettings(
        object=object_rule, max_side_px=max_side_px, encoding=encoding, jpeg_quality=jpeg_quality
    )
    plan = plan_import(locate(given), _vocabulary(vocabulary))
    with CountingProgress("import", plan.total, "files") as progress:
        kept, rejected = import_pool(plan, locate(out), settings, lambda _: progress.add(1))
    print_new_pool(out, {"instances": kept, "rejected": rejected.total()}, rejected)


@pool_app.command("merge")
def pool_merge(
    pools: Annotated[
        list[str], typer.Argument(metavar="POOL POOL...", help="Runs or pools; the first one's ids are kept.")
    ],
    out: NewPoolOption,
    cache_dir: CacheOption = None,
) -> None:
    """Several pools as one, their categories matched by name."""
    from xpaste_ray.pool import open_pool
    from xpaste_ray.pool.merge import merge_pools
    from xpaste_ray.report import CountingProgress
    from xpaste_ray.report_pool import print_new_pool
    from xpaste_ray.storage import locate

    if len(pools) < 2:
        raise ConfigError("give two pools or more to merge")
    opened = [open_pool(pool) for pool in pools]
    with CountingProgress("merge", sum(map(len, opened)), "instances") as progress:
        counts = merge_pools(opened, locate(out), lambda _: progress.add(1))
    print_new_pool(out, counts, {})


def verify_files(folder: "Location", repair: bool) -> bool:
    """Check a pool's folder, and say so; False if it is none. Exit code 1 if anything is wrong."""
    from xpaste_ray.pool.check import check_pool, is_pool

    if not is_pool(folder):
        return False
    if repair:
        raise ConfigError(
            f"--repair goes with a run: {folder} is a pool, which only what made it makes again"
        )
    problems = [f"{file}: {problem}" for file, problem in check_pool(folder)]
    for line in problems:
        typer.echo(line)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder} is whole")
    return True


def _vocabulary(given: str | None) -> "tuple[Category, ...] | None":
    from xpaste_ray.categories import load_vocabulary

    return None if given is None else load_vocabulary(given)
