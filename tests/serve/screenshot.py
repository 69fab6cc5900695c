"""docs/serve.png, the picture of the page in the README.

python -m tests.serve.screenshot [--pool runs/demo] [--out docs/serve.png]

Of what `make demo` made; it needs Chromium.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from tests.serve.browser import browsing, serving
from xpaste_ray.config.serve import ServeSettings

CHOICES = "preset=demo&count=6&size=320&seed=12"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", default="runs/demo")
    parser.add_argument("--out", type=Path, default=Path("docs/serve.png"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--choices", default=CHOICES, help="what stands behind the # of the address")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=880)
    told = parser.parse_args()
    settings = ServeSettings(pool=told.pool, presets=("demo", "xpaste"), insecure=True)
    with serving(settings) as live, browsing() as tab:
        tab.size(told.width, told.height)
        if told.dark:
            scheme = {"name": "prefers-color-scheme", "value": "dark"}
            tab.send("Emulation.setEmulatedMedia", features=[scheme])
        tab.open(f"{live.url}/#{told.choices}", "document.querySelectorAll('figure').length")
        tab.click("figure .chips button:not(.own)")
        tab.until("document.querySelector('.cutout')?.complete")
        tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        save(tab.picture(), told.out)


def save(png: bytes, file: Path) -> None:
    """With 256 colours: a third of the size, and the eye hardly sees it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT).save(file, optimize=True)


if __name__ == "__main__":
    main()
