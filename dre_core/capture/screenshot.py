"""The screenshot collector: a picture of a page or of an X display when a trigger asks for it.

It needs the extra ``visual``: pages are shown by a real Chromium through playwright, displays are read through Pillow.
Which page or display stands in the section ``visual`` of the configuration. One browser serves all pictures of a run,
and each picture loads the page anew. Nothing is taken before a trigger fires.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from dre_core.capture.collector import Captured, Facts, Moment, Scene
from dre_core.errors import CaptureError
from dre_core.hooks import hookimpl
from dre_core.model.verdict import Vantage

_TIMEOUT_MS = 15_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# A browser that only looks at one page has nobody else to talk to.
_QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


class ScreenshotCollector:
    """Takes pictures of the configured page and display."""

    name = "screenshot"

    def __init__(self) -> None:
        self._driver: Any = None
        self._page: Any = None

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        return []

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        return []

    def during(self, scene: Scene, moment: Moment) -> Iterable[Captured]:
        visual = scene.config.visual
        if not visual.url and not visual.display:
            raise CaptureError("neither visual.url nor visual.display is configured")
        if visual.url:
            yield _picture("page.png", self._shown(scene), {"url": _without_password(visual.url)})
        if visual.display:
            yield _picture("display.png", display_picture(visual.display), {"display": visual.display})

    def _shown(self, scene: Scene) -> bytes:
        """The page as a PNG."""
        if self._page is None:
            self._open(scene)
        try:
            self._page.goto(scene.config.visual.url, wait_until="load", timeout=_TIMEOUT_MS)
            return bytes(self._page.screenshot(timeout=_TIMEOUT_MS))
        except Exception as error:
            raise CaptureError(f"the page can't be shown: {_first_line(error)}") from None

    def _open(self, scene: Scene) -> None:
        from dre_core.capture.extra import require

        visual = scene.config.visual
        sync = require("playwright.sync_api", "visual")
        options = ["--no-sandbox", *_QUIET] if getattr(os, "geteuid", lambda: 1)() == 0 else list(_QUIET)
        try:
            self._driver = sync.sync_playwright().start()
            browser = self._driver.chromium.launch(
                executable_path=visual.browser or _installed(scene.environ.get("PATH", os.defpath)),
                args=options,
            )
            self._page = browser.new_page(viewport={"width": visual.width, "height": visual.height})
        except Exception as error:
            self.close()
            raise CaptureError(f"no browser can be started: {_first_line(error)}") from None

    def close(self) -> None:
        """Ends the browser."""
        driver, self._driver, self._page = self._driver, None, None
        if driver is not None:
            driver.stop()


def display_picture(display: str) -> bytes:
    """An X display as a PNG.

    Raises:
        CaptureError: It can't be read.
        MissingExtraError: Pillow is not installed.
    """
    import io

    from dre_core.capture.extra import require

    grab = require("PIL.ImageGrab", "visual")
    try:
        image = grab.grab(xdisplay=display)
    except Exception as error:
        raise CaptureError(f"the display can't be read: {_first_line(error)}") from None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _installed(search_path: str) -> str | None:
    import shutil

    found = (shutil.which(name, path=search_path) for name in _BROWSERS)
    return next((path for path in found if path), None)


def _picture(name: str, data: bytes, note: dict[str, str]) -> Captured:
    return Captured(
        name=name, kind="screenshot", vantage=Vantage.OBSERVED, media_type="image/png", data=data, note=note
    )


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@hookimpl
def dre_collectors() -> list[ScreenshotCollector]:
    return [ScreenshotCollector()]
