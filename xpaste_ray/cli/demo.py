"""`xpaste demo`."""

from pathlib import Path
from typing import Annotated

import typer

from xpaste_ray.cli.app import PresetOption, SetOption, app


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder; the same command continues it. runs/ and the preset's name, if not given."
        ),
    ] = None,
    preset: PresetOption = "demo",
    overrides: SetOption = None,
) -> None:
    """Run a whole chain with the embedded models: category names to a labelled COCO dataset (`demo`), or
    images with labels to one (`empaste-demo`)."""
    from xpaste_ray.config import EmPasteSettings, Settings, kind_of, load
    from xpaste_ray.pipelines.demo import run_demo
    from xpaste_ray.pipelines.empaste_demo import run_empaste_demo
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.report import ConsoleProgress, print_summary
    from xpaste_ray.report_em import print_empaste_demo

    out = out or Path("runs") / Path(preset).stem
    check_absolute("--out", str(out))
    if kind_of(preset) is EmPasteSettings:
        em_paste = load(EmPasteSettings, preset, overrides or ())
        with ConsoleProgress() as progress:
            summaries = run_empaste_demo(em_paste, out, progress)
        _report(out, all(summary.already_done for summary in summaries.values()))
        print_empaste_demo(summaries, out, em_paste.compose.output.formats)
        return
    settings = load(Settings, preset, overrides or ())
    with ConsoleProgress() as progress:
        summary = run_demo(settings, out, progress)
    _report(out, summary.already_done)
    print_summary(summary, out)


def _report(out: Path, already_done: bool) -> None:
    """Tell of what was made, unless nothing was and that is told."""
    from xpaste_ray.html_report.write import REPORT_HTML, write_report

    if not (already_done and (out / REPORT_HTML).exists()):
        write_report(str(out))
