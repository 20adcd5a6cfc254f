"""From the demo to a closed incident, as somebody does it who has read nothing.

`python -m tests.console.first_look` starts the demo, reads from its lines where to go and who to
be, and works through the page by what it says: every action is found by a word on the screen, and
each takes a moment to read. It prints when each step was reached, counted from the address.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page

from tests.console.browser import chromium

READ_S: Final = 4.0
"""To read what is new on the screen and find the next word."""
WITHIN_MS: Final = 60_000
DEMO_S: Final = 240


class Demo:
    """The demo and what it has printed."""

    def __init__(self, log: Path) -> None:
        self.log = log
        words = [sys.executable, "-m", "afstand", "demo", "--plain"]
        environment = os.environ | {"COLUMNS": "200"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)

    async def said(self, pattern: str) -> str:
        """Wait for words of the demo; the newest that match."""
        until = time.monotonic() + DEMO_S
        while time.monotonic() < until:
            found = re.findall(pattern, self.log.read_text(errors="replace"))
            if found:
                return str(found[-1])
            await asyncio.sleep(0.2)
        sys.exit(f"the demo never said {pattern}")

    def stop(self) -> int:
        """As Ctrl-C does."""
        self.process.terminate()
        return self.process.wait(60)


class Look:
    """Somebody new at the page."""

    def __init__(self, page: Page, started: float) -> None:
        self.page = page
        self.started = started

    @classmethod
    async def sign_in(cls, browser: Browser, demo: Demo, name: str, started: float) -> "Look":
        """Type what the demo says."""
        context = await browser.new_context(viewport={"width": 1440, "height": 900})
        look = cls(await context.new_page(), started)
        look.page.set_default_timeout(WITHIN_MS)
        await look.page.goto(await demo.said(r"the console is at (\S+)"))
        await look.page.fill("[name=name]", name)
        await look.page.fill("[name=password]", await demo.said(r"password: ([\w-]+)"))
        await asyncio.sleep(READ_S)
        await look.page.fill("[name=code]", await demo.said(r"sign-in code (\d{6})"))
        await look.page.keyboard.press("Enter")
        await look.page.wait_for_selector(".bar")
        return look

    async def reached(self, step: str, text: str, where: str = "body") -> None:
        """See a text, say when, read."""
        await self.page.locator(where).filter(has_text=text).first.wait_for()
        sys.stdout.write(f"{time.monotonic() - self.started:6.1f} s  {step}\n")
        await asyncio.sleep(READ_S)

    async def press(self, text: str) -> None:
        """Press the button that says so."""
        await self.page.locator("button:visible", has_text=text).first.click()


async def look(folder: Path) -> float:
    """Play it; gives the seconds from the address to the closed incident."""
    demo = Demo(folder / "demo.log")
    try:
        await demo.said(r"the console is at (\S+)")
        started = time.monotonic()
        async with chromium(with_map=True) as browser:
            me = await Look.sign_in(browser, demo, "operator", started)
            await me.reached("signed in", "Wachtrij")
            colleague = await Look.sign_in(browser, demo, "collega", started)
            await me.reached("somebody presses a button", "Noodknop", "#queue-list")
            await me.page.locator("#queue-list [data-incident]", has_text="Noodknop").click()
            await me.reached("what to do is said", "Bel of luister mee", ".incident .next")
            await me.press("ik pak dit op")
            await me.reached("it is mine", "om", ".answer")
            await me.press("Afsluiten")
            await me.page.locator("dialog label", has_text="afgehandeld").click()
            await me.page.fill("dialog textarea", "politie heeft haar gesproken")
            await asyncio.sleep(READ_S)
            await me.page.locator("dialog button", has_text="Afsluiten").click()
            await me.reached("proposed to close", "een tweede persoon tekent mee", ".answer")
            row = colleague.page.locator("#queue-list [data-incident]", has_text="Noodknop")
            await row.click()
            await colleague.press("Meetekenen")
            await asyncio.sleep(READ_S)
            await colleague.page.locator("dialog button", has_text="Ik teken mee").click()
            await colleague.reached("closed by two", "afgesloten door", ".incident")
            return time.monotonic() - started - READ_S
    finally:
        demo.stop()


def main() -> int:
    """Play it; 1 when it took two minutes or more."""
    with tempfile.TemporaryDirectory() as folder:
        took_s = asyncio.run(look(Path(folder)))
    sys.stdout.write(f"first_look_s {took_s:.0f}\n")
    return 0 if took_s < 120 else 1


if __name__ == "__main__":
    sys.exit(main())
