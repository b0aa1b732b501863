"""Screenshots of the pages for the README, of the running stack.

Before: `make run`, `make backfill` of some of the 23 days that it leaves out, and five minutes for the scatters. The
figures are those of the sample data and the feed, so they are not the same twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from local.browser import AirflowUi, find_chromium, running_browser
from local.settings import VIEWER_USER, read_settings

if TYPE_CHECKING:
    from local.browser import PageName, Theme

_ROOT = Path(__file__).resolve().parents[1]
_PICTURES = _ROOT / "docs" / "screenshots"
_KEY = {"package_nm": "com.maxy.shop", "server_type": "0", "os_type": "Web"}
_SHOTS: tuple[tuple[PageName, Theme, int], ...] = (
    ("live", "light", 1500),
    ("live", "dark", 1500),
    ("history", "light", 1000),
    ("health", "light", 1000),
)
# Charts are drawn once more when their place in the window is known.
_DRAWN_MS = 3000


def main() -> int:
    """Take them."""
    chromium = find_chromium()
    if chromium is None:
        print("screenshots need a browser: apt-get install chromium, or set CHROMIUM to its path", file=sys.stderr)
        return 1
    settings = read_settings(_ROOT, os.environ)
    _PICTURES.mkdir(parents=True, exist_ok=True)
    with running_browser(chromium) as browser:
        for page, theme, height in _SHOTS:
            ui = AirflowUi(browser, settings.airflow_url, height=height)
            ui.log_in(VIEWER_USER, settings.airflow_viewer_password)
            ui.choose_theme(theme)
            ui.open(page, f"?{urlencode(_KEY)}").locator(f"html[data-theme={theme}]").wait_for(state="attached")
            ui.page.wait_for_timeout(_DRAWN_MS)
            path = _PICTURES / f"{page}-{theme}.png"
            ui.page.screenshot(path=path)
            ui.close()
            print(path.relative_to(_ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
