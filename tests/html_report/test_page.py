"""The page: one file, safe whatever names say; and, where there is Chromium, what it does."""

import base64
import json
import re

import pytest

from tests.html_report.material import annotation, finished_run, write_dataset
from tests.serve.browser import CHROMIUM, browsing
from xpaste_ray.html_report.blocks import (
    Chapter,
    Column,
    Gallery,
    Picture,
    Report,
    Section,
    Shot,
    Table,
)
from xpaste_ray.html_report.page import page
from xpaste_ray.html_report.write import write_report

browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")

MARKUP = "</script><img src=x onerror=console.error(1)>"
WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
LARGEST = 2**63 - 1  # a seed; numbers of JavaScript would round it


def a_report(name=MARKUP, rows=20) -> Report:
    table = Table(name, (Column("name", "text"), Column("count"), Column("part", "share")),
                  tuple((f"{name}{i}", (7 * i) % rows, i / rows) for i in range(rows)))  # fmt: skip
    shot = Shot(
        Picture("webp", WEBP, (1, 1)), name, {"text": name, "seed": LARGEST, "scores": {"a": 0.1}}, "kept"
    )
    blocks = (table, Gallery(name, (shot, Shot(Picture("webp", WEBP, (1, 1)), "other", {"text": "two"}))))
    return Report(name, (Chapter("one", (Section("summary", name, blocks, name),)),))


def test_names_are_no_markup():
    text = page(a_report())
    assert "<img src=x" not in text and text.count("</script>") == 2


def test_nothing_may_be_loaded_and_no_other_script_run():
    text = page(a_report())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "script-src 'sha256-" in policy
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_long_tables_can_be_searched_and_short_ones_need_not():
    assert 'type="search"' in page(a_report(rows=13)) and 'type="search"' not in page(a_report(rows=12))


def test_same_run_gives_the_same_bytes(tmp_path):
    run = finished_run(tmp_path / "run")
    first, second = (write_report(str(run.root), str(tmp_path / name)) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert str(tmp_path) not in first.read_text() + (tmp_path / "a.json").read_text()
    assert json.loads((tmp_path / "a.json").read_text())["name"] == "run"


@pytest.fixture(scope="module")
def tab():
    with browsing() as tab:
        tab.size(1200, 900)
        yield tab


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Of a run with a dataset."""
    run = finished_run(tmp_path_factory.mktemp("page") / "run")
    write_dataset(run.dataset, [[annotation(45, 0, 0, 32)], [annotation(475, 8, 8, 8)]])
    return write_report(str(run.root)).path


def open_page(tab, file):
    tab.open(file.as_uri(), "document.querySelectorAll('section').length")


@browser
def test_page_opens_from_a_disk_without_a_request_or_an_error(tab, written):
    open_page(tab, written)
    assert [url for url in tab.requested if not url.startswith("data:")] == [written.as_uri()]
    assert tab.complaints == []
    assert tab.value("document.querySelectorAll('svg').length") > 5


@browser
def test_click_shows_provenance_and_escape_hides_it(tab, written):
    open_page(tab, written)
    shown = "document.querySelector('dialog').open"
    assert not tab.value(shown)
    tab.click("#c1-samples .shot")
    assert tab.value(shown)
    told = tab.value("document.querySelector('dialog').innerText")
    assert "a photo of a single banana" in told and "candidate id" in told
    tab.until("document.querySelector('dialog img').naturalWidth > 0")  # it is decoded after the click
    tab.key("Escape")
    tab.until("!document.querySelector('dialog').open")
    assert tab.complaints == []


@browser
def test_unkind_names_are_shown_as_they_are(tab, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(a_report()))
    open_page(tab, file)
    tab.click(".shot")
    assert tab.value("document.querySelector('dialog h2').textContent") == MARKUP
    told = tab.value("document.querySelector('dialog .told').innerText")
    assert MARKUP in told and str(LARGEST) in told
    assert tab.complaints == [] and tab.value("document.querySelectorAll('img[src=x]').length") == 0


@browser
def test_tables_are_sorted_and_searched(tab, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(a_report("row ")))
    open_page(tab, file)
    column = "[...document.querySelectorAll('tbody tr:not([hidden])')].map((row) => row.cells[1].textContent)"
    tab.click("th:nth-child(2) button")
    assert tab.value(column) == [str(count) for count in range(19, -1, -1)]
    tab.click("th:nth-child(2) button")
    assert tab.value(column) == [str(count) for count in range(20)]
    tab.value("(() => { const e = document.querySelector('input[type=search]'); e.value = 'ROW 1';"
              " e.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert len(tab.value(column)) == 11  # 1, and 10 to 19
    assert tab.value("document.querySelector('output').textContent") == "11 of 20 rows"
