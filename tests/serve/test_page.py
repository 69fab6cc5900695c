"""The pages for people: what stands behind them, and, where there is Chromium, what they do."""

import base64
import hashlib
import json
import re
import shlex
import shutil
import struct
import subprocess
import threading
import tomllib
import urllib.error
import urllib.request
from asyncio import run_coroutine_threadsafe
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.backgrounds.material import compressed_rle, square, write_dataset
from tests.conftest import seal_discs
from tests.serve.browser import CHROMIUM, PATIENCE_S, Live, Tab, browsing, serving
from xpaste_ray.config.serve import ServeLimits, ServeSettings

HEIGHT, WIDTH = 96, 128
LARGEST = 2**63 - 1  # a seed; numbers of JavaScript would round it
MARKUP = "<img src=x onerror=console.error(1)>"  # a category's name, as someone unkind would write it
CHOICES = f"preset=xpaste&count=3&size={HEIGHT}x{WIDTH}&seed=10"
BODY = f'{{"seed":10,"count":3,"preset":"xpaste","size":[{HEIGHT},{WIDTH}]}}'
REFUSED = "!document.getElementById('error').hidden"
BUSY = "document.getElementById('state').textContent.includes('busy')"
SHOWN = "document.querySelectorAll('figure').length"

browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServeSettings:
    """Discs on two photographs, each with a square at the top left and a crowd along the bottom."""
    folder = tmp_path_factory.mktemp("page")
    seal_discs(folder, {"banana": 4, "frog": 3, "lion": 5}, seed=LARGEST)
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[80:, 10:100] = True
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH, "licence": 1} for i in (1, 2)
    ]
    own = [
        {"id": 10 * i + k, "image_id": i, "category_id": k, "iscrowd": k - 1, "bbox": box, "area": area,
         "segmentation": segmentation}
        for i in (1, 2)
        for k, box, area, segmentation in (
            (1, [4, 4, 20, 20], 400, [square(4, 4, 20)]),
            (2, [10, 80, 90, 16], 1440, compressed_rle(crowd)),
        )
    ]  # fmt: skip
    categories = [{"id": 1, "name": MARKUP}, {"id": 2, "name": "people"}]
    return ServeSettings(
        pool=str(folder / "pools" / "pool"),
        backgrounds=str(write_dataset(folder / "photos", images, own, categories)),
        presets=("xpaste", "demo"),
        options={
            "canvas.fit": "resize", "canvas.flip_probability": 0, "instances": [3, 3],
            "size.rule": "pixels", "occlusion.rule": "visible-fraction",
        },
        insecure=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def live(settings: ServeSettings) -> Iterator[Live]:
    with serving(settings) as live:
        yield live


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def tab(downloads: Path) -> Iterator[Tab]:
    with browsing(downloads) as tab:
        tab.size(1280, 900)
        yield tab


def get(url: str, body: str | None = None) -> tuple[bytes, Any]:
    """The answer's body and headers."""
    headers = {"Content-Type": "application/json", "Accept": "application/zip"} if body else {}
    request = urllib.request.Request(url, body.encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.read(), answer.headers


def entries(data: bytes) -> dict[str, bytes]:
    """Files of a zip by the rules that the page reads by: an end without a comment, a directory before it,
    no file packed, and sizes of 32 bits."""
    assert data[-22:-18] == b"PK\5\6"
    number, size, at = struct.unpack("<HII", data[-12:-2])
    assert at + size == len(data) - 22
    found = {}
    for _ in range(number):
        assert data[at : at + 4] == b"PK\1\2"
        (packed,) = struct.unpack_from("<H", data, at + 10)
        stored, size, name, extra, comment = struct.unpack_from("<IIHHH", data, at + 20)
        (local,) = struct.unpack_from("<I", data, at + 42)
        assert packed == 0 and stored == size and extra == comment == 0
        start = local + 30 + sum(struct.unpack_from("<HH", data, local + 26))
        found[data[at + 46 : at + 46 + name].decode()] = data[start : start + size]
        at += 46 + name
    return found


def annotations_of(data: bytes) -> list[dict[str, Any]]:
    """Those of the first image."""
    told = json.loads(entries(data)["annotations.json"])
    return [one for one in told["annotations"] if one["image_id"] == told["images"][0]["id"]]


# --- what stands behind the pages ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_name_nothing_elsewhere(live, path):
    page = get(live.url + path)[0].decode().replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"(?i)(?:https?:)?//[a-z0-9][^\s\"'<]*\.[a-z]{2,}", page) == []
    for target in re.findall(r'\s(?:src|href)="([^"]*)"', page):
        assert not re.match(r"(?i)https?:|//", target), target


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_policy_lets_a_page_run_its_own_script_and_ask_its_own_service(live, path):
    page, headers = get(live.url + path)
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    (script,) = re.findall(r"<script(?: type=\"module\")?>(.+?)</script>", page.decode(), re.DOTALL)
    own = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert policy["script-src"] == {"/": own, "/docs": f"'self' {own}"}[path]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    assert path == "/docs" or "unsafe" not in headers["Content-Security-Policy"]


def test_page_never_makes_markup_of_data(live):
    page = get(live.url + "/")[0].decode()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert forbidden not in page
    assert re.findall(r"<[a-z]+[^>]*\s(?:on\w+|style)=", page) == []


def test_docs_come_with_their_files_and_no_others(live):
    css, headers = get(live.url + "/docs/swagger-ui.css")
    assert b".swagger-ui" in css and headers.get_content_type() == "text/css"
    script, headers = get(live.url + "/docs/swagger-ui-bundle.js")
    assert b"SwaggerUIBundle" in script and headers.get_content_type() == "text/javascript"
    assert '"validatorUrl": null' in get(live.url + "/docs")[0].decode()
    for name in ("redoc.standalone.js", "..%2F__init__.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{live.url}/docs/{name}")


def test_package_holds_the_page():
    told = tomllib.loads(Path("pyproject.toml").read_text())
    assert "page.html" in told["tool"]["setuptools"]["package-data"]["xpaste_ray.serve"]


def test_pool_tells_what_the_page_offers(live):
    pool = json.loads(get(live.url + "/v1/pool")[0])
    assert (pool["instances"], pool["backgrounds"], pool["presets"]) == (12, 2, ["xpaste", "demo"])
    assert pool["limits"]["count"] == 64 and pool["needs_token"] is False
    categories = json.loads(get(live.url + "/v1/categories")[0])["categories"]
    counts = {one["name"]: one["instances"] for one in categories}
    assert counts == {"banana": 4, "frog": 3, "lion": 5, MARKUP: 0, "people": 0}


def test_zip_is_one_that_the_page_reads(live):
    found = entries(get(live.url + "/v1/compose", BODY)[0])
    images = [f"images/{number:06d}.jpg" for number in range(3)]
    assert list(found) == [*images, "annotations.json", "plans.jsonl"]
    assert all(found[name].startswith(b"\xff\xd8") for name in images)
    told = json.loads(found["annotations.json"])
    assert [(one["id"], one["file_name"], one["height"], one["width"]) for one in told["images"]] == [
        (number + 1, f"{number:06d}.jpg", HEIGHT, WIDTH) for number in range(3)
    ]
    names = {one["id"]: one["name"] for one in told["categories"]}
    for one in told["annotations"]:
        mask = coco_mask.decode(one["segmentation"])
        assert mask.shape == (HEIGHT, WIDTH) and mask.sum() == one["area"]
        assert one["category_id"] in names and len(one["bbox"]) == 4 and 0 < one["visible_fraction"] <= 1
        assert ("instance_id" in one) == (one["origin"] == "pool")
    assert {one["origin"] for one in told["annotations"]} == {"pool", "background"}


def test_instance_tells_where_it_comes_from(live):
    one = next(
        one for one in annotations_of(get(live.url + "/v1/compose", BODY)[0]) if one["origin"] == "pool"
    )
    told = json.loads(get(f"{live.url}/v1/instances/{one['instance_id']}")[0])
    assert told["provenance"]["text"] == f"a photo of {told['category']}"
    assert told["provenance"]["source_size_hw"] == [40, 40] and "licence" in told["provenance"]
    assert told["provenance"]["scores"] == {"clip_logit": 30.0}
    assert get(f"{live.url}/v1/instances/{one['instance_id']}.png")[0].startswith(b"\x89PNG")


# --- in a browser ----------------------------------------------------------------------------------


def pixels(tab: Tab, canvas: str, number: int = 0) -> np.ndarray:
    """(H, W, 4) uint8 of a canvas of an image."""
    data, height, width = tab.value(
        f"(() => {{ const c = document.querySelectorAll('figure canvas.{canvas}')[{number}];"
        " const i = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        " return [Array.from(i.data), c.height, c.width]; })()"
    )
    return np.array(data, np.uint8).reshape(height, width, 4)


def text(tab: Tab, selector: str) -> str:
    return tab.value(f"document.querySelector({json.dumps(selector)}).innerText")


def chips(tab: Tab) -> list[str]:
    """Of the first image."""
    return tab.value("[...document.querySelectorAll('figure')[0].querySelectorAll('.chips button')]"
                     ".map((chip) => chip.textContent)")  # fmt: skip


@browser
def test_page_shows_the_masks_and_asks_nobody_else(live, tab):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)
    data = get(live.url + "/v1/compose", BODY)[0]
    assert tab.value(SHOWN) == 3
    overlay = pixels(tab, "masks")
    annotations = annotations_of(data)
    owner = np.zeros((HEIGHT, WIDTH), int)
    for number, one in enumerate(annotations, 1):
        owner[coco_mask.decode(one["segmentation"]).astype(bool)] = number
    np.testing.assert_array_equal(overlay[..., 3] > 0, owner > 0)
    colours = tab.value("[...document.querySelectorAll('figure')[0].querySelectorAll('.chips i')]"
                        ".map((dot) => dot.style.background.match(/\\d+/g).map(Number))")  # fmt: skip
    pasted = [tuple(c) for c, one in zip(colours, annotations, strict=True) if one["origin"] == "pool"]
    assert len(set(pasted)) == len(pasted) > 1
    for number, colour in enumerate(colours, 1):
        assert np.abs(overlay[owner == number][:, :3] - np.array(colour)).max() <= 3  # of 255: alpha rounds
    assert len(tab.requested) > 5
    assert [url for url in tab.requested if not url.startswith((live.url, "blob:", "data:", "about:"))] == []
    assert tab.complaints == []


@browser
def test_polygons_are_shown_as_the_masks_that_they_outline(settings, tab):
    told = settings.model_copy(update={"options": settings.options | {"output.polygons": True}})
    with serving(told) as live:
        tab.open(f"{live.url}/#{CHOICES}", SHOWN)
        union = np.zeros((HEIGHT, WIDTH), bool)
        for one in annotations_of(get(live.url + "/v1/compose", BODY)[0]):
            rings = one["segmentation"]
            rles = coco_mask.frPyObjects(rings, HEIGHT, WIDTH) if isinstance(rings, list) else [rings]
            union |= coco_mask.decode(coco_mask.merge(rles)).astype(bool)
        np.testing.assert_array_equal(pixels(tab, "masks")[..., 3] > 0, union)


@browser
def test_layers_are_switched_by_mouse_and_keyboard(live, tab):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)

    def drawn() -> int:
        return int((pixels(tab, "labels")[..., 3] > 0).sum())

    both = drawn()
    tab.click("#masks")
    assert tab.value("document.querySelector('canvas.masks').hidden") is True
    tab.click("#names")
    boxes = drawn()
    tab.value("document.getElementById('boxes').focus()")
    tab.key(" ", " ")
    assert both > boxes > drawn() == 0
    tab.click("#masks")
    assert tab.value("document.querySelector('canvas.masks').hidden") is False


@browser
def test_click_on_an_instance_opens_its_provenance_and_escape_closes_it(live, tab):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)
    annotations = annotations_of(get(live.url + "/v1/compose", BODY)[0])
    number, one = next((n, one) for n, one in enumerate(annotations) if one["origin"] == "pool")
    mask = coco_mask.decode(one["segmentation"])
    rows, columns = np.nonzero(mask)
    tab.click(
        "figure canvas.labels",
        x=(columns[len(columns) // 2] + 0.5) / WIDTH,
        y=(rows[len(rows) // 2] + 0.5) / HEIGHT,
    )
    tab.until("document.querySelector('.cutout')?.naturalWidth")
    told = json.loads(get(f"{live.url}/v1/instances/{one['instance_id']}")[0])
    seen = text(tab, "#about")
    assert text(tab, "#about-name") == told["category"]
    for part in (told["provenance"]["text"], one["instance_id"], str(LARGEST), "30.00", f"{one['area']} px"):
        assert part in seen
    assert tab.value("document.activeElement.id") == "about-name"
    tab.key("Escape")
    assert tab.value("document.getElementById('about').hidden") is True
    assert tab.value("document.activeElement.textContent") == chips(tab)[number]
    assert tab.complaints == []


@browser
def test_seeds_of_19_digits_are_sent_as_they_are(live, tab):
    tab.open(f"{live.url}/#preset=xpaste&count=1&size=64&seed={LARGEST}", SHOWN)
    data, _ = get(live.url + "/v1/compose", f'{{"seed":{LARGEST},"preset":"xpaste","size":64}}')
    tab.click("#copy")
    assert f'"seed":{LARGEST},' in tab.value("document.getElementById('command').value")
    overlay = pixels(tab, "masks")[..., 3] > 0
    union = sum(coco_mask.decode(one["segmentation"]) for one in annotations_of(data)) > 0
    np.testing.assert_array_equal(overlay, union)


@browser
def test_the_backgrounds_own_objects_are_told_apart_and_names_are_only_text(live, tab):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)
    annotations = annotations_of(get(live.url + "/v1/compose", BODY)[0])
    own = tab.value("[...document.querySelectorAll('figure')[0].querySelectorAll('.chips .own')]"
                    ".map((chip) => chip.textContent)")  # fmt: skip
    assert own == [
        {1: MARKUP, 2: "people"}[one["category_id"]] for one in annotations if one["origin"] == "background"
    ]
    assert MARKUP in own and len(chips(tab)) > len(own)
    assert tab.value("document.getElementById('key').hidden") is False
    tab.click("figure .chips .own")
    assert "of the background itself" in text(tab, "#about-text") and text(tab, "#about-name") == own[0]
    assert tab.value("document.querySelectorAll('img[src=x]').length") == 0
    assert tab.complaints == []


@browser
def test_download_and_curl_give_the_very_bytes(live, tab, downloads, tmp_path):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)
    data = get(live.url + "/v1/compose", BODY)[0]
    posts = [url for url in tab.requested if url.endswith("/v1/compose")]
    tab.click("#download")
    name = "xpaste-10-0-3.zip"
    for _ in range(int(PATIENCE_S / 0.1)):
        if (downloads / name).exists():
            break
        tab.value("new Promise((done) => setTimeout(done, 100))")
    assert (downloads / name).read_bytes() == data
    assert [url for url in tab.requested if url.endswith("/v1/compose")] == posts  # not asked for again
    tab.click("#copy")
    command = tab.value("document.getElementById('command').value")
    assert shlex.split(command)[:3] == ["curl", "-o", name] and "TOKEN" not in command
    if shutil.which("curl"):
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, capture_output=True, timeout=PATIENCE_S)
        assert (tmp_path / name).read_bytes() == data


@browser
def test_search_and_choice_limit_what_is_pasted_and_the_link_keeps_them(live, tab):
    tab.open(f"{live.url}/#{CHOICES}", SHOWN)
    tab.value("document.getElementById('search').focus()")
    tab.send("Input.insertText", text="RO")
    offered = "[...document.querySelectorAll('#list label')].filter((one) => !one.hidden)"
    assert tab.value(f"{offered}.map((one) => one.innerText.split(/\\s+/))") == [["frog", "3"]]
    tab.click("#list label:not([hidden]) input")
    assert text(tab, "#chosen") == "1 of 3 are pasted"
    tab.click("#compose")
    only = ("new Set([...document.querySelectorAll('.chips button:not(.own)')]"
            ".map((one) => one.textContent))")  # fmt: skip
    tab.until(f"{only}.size === 1 && document.getElementById('images').ariaBusy === 'false'")
    assert tab.value(f"[...{only}]") == ["frog"]
    link = tab.value("location.href")
    assert "category=frog" in link and "pool=" in link
    before = pixels(tab, "masks", 2)
    tab.open(link, SHOWN)
    np.testing.assert_array_equal(pixels(tab, "masks", 2), before)
    tab.open(re.sub("pool=[0-9a-f]+", "pool=older", link) + "&category=unicorn", SHOWN)
    tab.until("document.getElementById('state').textContent.includes('images')")
    state = text(tab, "#state")
    assert "no unicorn" in state and "another pool (older)" in state


@browser
def test_errors_say_what_is_wrong_and_what_to_do(live, tab):
    tab.open(
        f"{live.url}/#preset=xpaste&count=40&size=2048&seed=7", "!document.getElementById('error').hidden"
    )
    told = text(tab, "#error")
    assert "(422)" in told and "count: all images together must not have more than 64 megapixels" in told
    assert "Change what is named here" in told and "Request id" in told
    assert tab.value("document.getElementById('error').getAttribute('role')") == "alert"
    tab.value("document.getElementById('count').value = 2; document.getElementById('size').value = '64'")
    tab.click("#compose")
    tab.until(f"{SHOWN} === 2 && document.getElementById('error').hidden")


@browser
def test_busy_service_is_waited_for_in_sight_of_the_user(settings, tab):
    limits = ServeLimits(waiting=0)
    free = threading.Event()
    with serving(settings.model_copy(update={"limits": limits})) as live:
        busy = run_coroutine_threadsafe(live.service.cores.run(free.wait, PATIENCE_S), live.loop)
        try:
            tab.open(f"{live.url}/#{CHOICES}", BUSY)
            assert re.match(r"The service is busy \(429\); try 2 of 8 in \d+ s", text(tab, "#state"))
            assert tab.value(SHOWN) == 0
            tab.click("#stop")
            tab.until("document.getElementById('state').textContent === 'Stopped.'")
            tab.click("#compose")
            tab.until(BUSY)
        finally:
            free.set()
        busy.result(PATIENCE_S)
        tab.until(f"{SHOWN} === 3")
        assert tab.value("document.getElementById('error').hidden") is True


@browser
def test_browser_gives_the_token_as_a_password(settings, tab, tmp_path):
    (tmp_path / "tokens").write_text("a-token-of-24-characters\n")
    told = settings.model_copy(update={"token_file": str(tmp_path / "tokens"), "insecure": False})
    with serving(told) as live:
        address = live.url.replace("http://", "http://any:a-token-of-24-characters@")
        tab.open(f"{address}/#{CHOICES}", SHOWN)
        tab.click("figure .chips button:not(.own)")
        tab.until("document.querySelector('.cutout')?.naturalWidth")
        tab.click("#copy")
        command = tab.value("document.getElementById('command').value")
        assert "-H 'Authorization: Bearer TOKEN'" in command and "a-token" not in command
        assert tab.complaints == []


@browser
def test_docs_work_without_the_internet(live, tab):
    tab.open(f"{live.url}/docs", "document.querySelectorAll('.opblock').length")
    paths = tab.value(
        "[...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path)"
    )
    assert set(paths) == set(json.loads(get(live.url + "/openapi.json")[0])["paths"])
    assert [url for url in tab.requested if not url.startswith((live.url, "data:", "about:"))] == []
    assert tab.complaints == []
