"""docs/report.png, the picture of the report in the README.

python -m tests.html_report.screenshot [--report runs/demo/report.html] [--out docs/report.png]

Of what `make demo` wrote; it needs Chromium.
"""

import argparse
from pathlib import Path

from tests.serve.browser import browsing
from tests.serve.screenshot import save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", type=Path, default=Path("runs/demo/report.html"))
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--click", help="what to click on, as CSS writes it")
    parser.add_argument("--at", default="", help="the section to begin with, as in the page's addresses")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=1400)
    told = parser.parse_args()
    with browsing() as tab:
        tab.size(told.width, told.height)
        if told.dark:
            scheme = {"name": "prefers-color-scheme", "value": "dark"}
            tab.send("Emulation.setEmulatedMedia", features=[scheme])
        tab.open(
            f"{told.report.absolute().as_uri()}#{told.at}", "document.querySelectorAll('section').length"
        )
        if told.click:
            tab.click(told.click)
        tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        save(tab.picture(), told.out)


if __name__ == "__main__":
    main()
