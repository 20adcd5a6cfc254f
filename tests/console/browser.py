"""A real Chromium for tests of the page."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.console.live import LiveSite
from tests.console.site import PASSWORD

ROOT = Path(__file__).resolve().parent.parent.parent
AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"
MAP = ROOT / "console" / "node_modules" / "maplibre-gl" / "dist" / "maplibre-gl.mjs"
WITHIN_MS = 60_000
PAGES = ("#/incidents", "#/cases", "#/cases/zaak-bram", "#/orders", "#/orders/gebiedsverbod-cees",
         "#/orders/new", "#/devices", "#/devices/tag-bram", "#/caseload", "#/shift", "#/wall",
         "#/last-known", "REPLAY", "#/consultations")  # fmt: skip
SOFTWARE_GL = ("--enable-unsafe-swiftshader",)
NO_GL = ("--disable-gpu", "--disable-webgl", "--disable-3d-apis")


def chromium_binary() -> str:
    """The Chromium of this machine; skips the test when there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no Chromium on this machine (Debian package: chromium)")


@contextlib.asynccontextmanager
async def chromium(*, with_map: bool = False) -> AsyncIterator[Browser]:
    """A browser. Drawing maps in software is dear: only tests of the map have one."""
    binary = chromium_binary()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=binary,
            args=["--no-sandbox", *(SOFTWARE_GL if with_map else NO_GL)],
        )
        try:
            yield browser
        finally:
            await browser.close()


class Somebody:
    """A person at a page of their own. What the page complains about is kept."""

    def __init__(self, site: LiveSite, page: Page) -> None:
        self.site = site
        self.page = page
        self.faults: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @classmethod
    async def at(
        cls, site: LiveSite, browser: Browser, *, size: tuple[int, int] = (1600, 1000), **more: Any
    ) -> "Somebody":
        width, height = size
        context = await browser.new_context(viewport={"width": width, "height": height}, **more)
        return cls(site, await context.new_page())

    async def sign_in(self, name: str) -> None:
        """Sign in as somebody does: by typing."""
        page = self.page
        await page.goto(self.site.url)
        await page.fill("[name=name]", name)
        await page.fill("[name=password]", PASSWORD)
        await page.fill("[name=code]", self.site.code())
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".bar")

    async def go(self, path: str) -> None:
        await self.page.evaluate("path => { location.hash = path }", path)

    async def sends(self) -> None:
        """Send the open dialog, and wait until it is gone: until then keys are the dialog's."""
        await self.page.keyboard.press("Control+Enter")
        await self.page.locator("dialog[open]").wait_for(state="detached")

    async def sees(self, text: str, where: str = "body") -> None:
        """Wait until a text stands somewhere, visible.

        By a locator: what waits with code of its own in the page is forbidden by our policy.
        """
        await self.page.locator(where).filter(has_text=text).first.wait_for()

    async def texts(self, where: str) -> list[str]:
        return [text.strip() for text in await self.page.locator(where).all_inner_texts()]
