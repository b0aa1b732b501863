"""Airflow's UI in a real browser: for the tests of the pages, and for their screenshots.

The browser is a Chromium of the machine (Debian's package ``chromium``), driven by Playwright.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.sync_api import Browser, FrameLocator, Page

Theme = Literal["light", "dark"]
PageName = Literal["live", "history", "health"]
#: What the pages are called in Airflow's navigation.
TITLES: Mapping[PageName, str] = {
    "live": "Live statistics",
    "history": "Statistics history",
    "health": "Statistics health",
}
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    # It opens nothing but this stack's own pages; a container without user namespaces cannot have the sandbox.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_PATIENCE_MS = 30_000


def find_chromium(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the browser's path: the variable CHROMIUM, else the first one that is installed; None if there is none."""
    return environment.get("CHROMIUM") or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def running_browser(executable: str) -> Iterator[Browser]:
    """Run a browser without a window.

    :param executable: its path.
    """
    # Takes a while, and most of what reads this module starts no browser.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class AirflowUi:
    """One user's window.

    :param browser: the browser.
    :param url: of Airflow.
    :param width: of the window, pixels.
    :param height: of the window, pixels.
    :param locale: the browser's language.
    """

    def __init__(
        self, browser: Browser, url: str, *, width: int = 1280, height: int = 900, locale: str = "en-US"
    ) -> None:
        self.url = url
        context = browser.new_context(
            viewport={"width": width, "height": height}, locale=locale, reduced_motion="reduce", accept_downloads=True
        )
        context.set_default_timeout(_PATIENCE_MS)
        self.page: Page = context.new_page()
        #: What the pages' scripts and the browser complained about.
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type == "error" else None,
        )

    def close(self) -> None:
        """Close the window, and forget the login."""
        self.page.context.close()

    def log_in(self, user: str, password: str) -> None:
        """Log in through Airflow's form."""
        self.page.goto(self.url)
        self.page.locator("input[name=username]").fill(user)
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/auth/login" not in url)
        # Before the login, Airflow's own page asks for what it may not have.
        self.complaints.clear()

    def open(self, page: PageName, query: str = "") -> FrameLocator:
        """Open a page by its address in Airflow, and wait until it shows something.

        :param query: of the page, e.g. ``?package_nm=…``.
        """
        self.page.goto(f"{self.url}/plugin/maxy-{page}{f'/maxy/{page}{query}' if query else ''}")
        return self.frame()

    def frame(self) -> FrameLocator:
        """Return the page inside Airflow's, once it shows something."""
        frame = self.page.frame_locator("iframe")
        frame.locator("html[data-ready=true]").wait_for(state="attached")
        return frame

    def choose_from_navigation(self, page: PageName) -> FrameLocator:
        """Open a page as people do: Plugins, Statistics, and its name."""
        self.page.get_by_role("button", name="Plugins").click()
        self.page.get_by_role("menuitem", name="Statistics", exact=True).click()
        self.page.get_by_role("menuitem", name=TITLES[page]).click()
        return self.frame()

    def choose_theme(self, theme: Theme) -> None:
        """Switch Airflow to light or dark, as people do."""
        self.page.get_by_role("button", name="User").click()
        self.page.get_by_role("menuitem", name="Appearance").click()
        self.page.get_by_role("menuitemradio", name=f"{theme.capitalize()} Mode").click()
