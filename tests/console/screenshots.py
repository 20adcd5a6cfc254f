"""The pictures in the documents: `python -m tests.console.screenshots` makes them all anew.

Everybody in them is invented, and so is every place. A made-up evening: bram walks towards anna,
fleur presses her button, a strap is cut, cees is where he may not be.
"""

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image
from playwright.async_api import Browser

from alerting.book.types import Acknowledge, Note
from console.access.gate import SignedIn
from console.settings import Settings
from firmware_contracts import EventCode
from tests.console.browser import ROOT, Somebody, chromium
from tests.console.live import LiveSite

FOLDER: Final = ROOT / "docs" / "images"
COLOURS: Final = 96
SIZES: Final = {"laptop": (1280, 800), "desk": (1920, 1080)}
SETTLE_S: Final = 6.0
"""For a map that is drawn in software."""
EVERY_S: Final = 4.0
WALKS_M_S: Final = 1.6
CORNERS: Final = "51.930, 4.508\n51.930, 4.516\n51.935, 4.516\n51.935, 4.508"

Doing = Callable[[Somebody], Awaitable[None]]


class Picture(NamedTuple):
    """One picture: who looks at what, and what they did before."""

    name: str
    who: str
    path: str
    size: str = "laptop"
    theme: str = "light"
    doing: Doing | None = None
    settle_s: float = 1.5


async def waiting(somebody: Somebody) -> None:
    """The replay at the moment at which it was raised, with a wider radius asked about."""
    await somebody.page.fill(".replay input[type=number]", "800")


async def drawn(somebody: Somebody) -> None:
    """An order half filled in, its area drawn."""
    page = somebody.page
    await page.select_option("[name=kind]", "area-ban")
    await page.fill("#order-id", "gebiedsverbod-evert")
    await page.fill("#order-wearer", "evert")
    await page.wait_for_selector("[name=plan] option[value=partnergeweld]", state="attached")
    await page.select_option("[name=plan]", "partnergeweld")
    await page.fill("#order-zone_id", "park")
    await page.fill("[name=places]", CORNERS)
    await page.click("text=Haalbaarheid")
    await somebody.sees("van de tijd", ".form")


async def closing(somebody: Somebody) -> None:
    """The question with which an incident is closed."""
    await somebody.page.keyboard.press("s")
    await somebody.page.wait_for_selector("dialog[open]")


async def listed(somebody: Somebody) -> None:
    """The list for paper, its reason given."""
    await somebody.page.fill("dialog [name=reason]", "bewaking ligt stil: lijst voor de map")
    await somebody.page.keyboard.press("Enter")
    await somebody.page.wait_for_selector("table")


async def locked(somebody: Somebody) -> None:
    """The lock."""
    await somebody.page.keyboard.press("l")
    await somebody.sees("Scherm op slot")


PICTURES: Final = (
    Picture("incident", "jan", "PAIR", "desk", "light", None, SETTLE_S),
    Picture("incident-dark", "jan", "PAIR", "desk", "dark", None, SETTLE_S),
    Picture("incident-laptop", "jan", "PAIR", "laptop", "dark", None, SETTLE_S),
    Picture("close", "jan", "PANIC", "laptop", "light", closing),
    Picture("replay", "lead", "REPLAY", "laptop", "dark", waiting, SETTLE_S),
    Picture("order", "lead", "#/orders/new", "laptop", "light", drawn, SETTLE_S),
    Picture("orders", "lead", "#/orders"),
    Picture("caseload", "vera-t", "#/caseload"),
    Picture("case", "vera-t", "#/cases/zaak-bram", "desk", "dark"),
    Picture("devices", "lead", "#/devices", "laptop", "dark"),
    Picture("wall", "jan", "#/wall", "desk", "dark", None, 7.0),
    Picture("wall-light", "jan", "#/wall", "laptop", "light", None, 7.0),
    Picture("shift", "jan", "#/shift"),
    Picture("lock", "piet", "#/incidents", "laptop", "dark", locked),
    Picture("audit", "audit", "#/consultations"),
    Picture("without-watch", "lead", "#/last-known", "laptop", "light", listed),
    Picture("queue-without-watch", "lead", "PAIR", "laptop", "dark", None, SETTLE_S),
)
IN_DOCUMENTS: Final = ("incident", "incident-dark", "close", "replay", "order", "caseload", "case",
                       "wall", "without-watch")  # fmt: skip


def evening(site: LiveSite) -> dict[str, str]:
    """Let everything happen; gives the addresses of incidents by name."""
    site.approach()
    site.event("evert", EventCode.STRAP_CUT)
    site.event("fleur", EventCode.PANIC)
    rows = {row.wearer_id or row.protected_id: row for row in site.room.model.incidents.open_rows()}
    cut, pair, panic = (rows[name].incident_id for name in ("evert", "bram", "fleur"))
    site.command(Acknowledge(incident_id=cut, by="piet"))
    words = "Gebeld met drager: de band brak bij het sporten. Reclassering wisselt hem vanavond."
    site.command(Note(incident_id=cut, by="piet", text=words))
    return {
        "PAIR": f"#/incidents/{pair}", "PANIC": f"#/incidents/{panic}",
        "REPLAY": f"#/replay/incident/{pair}",
    }  # fmt: skip


async def reporting(site: LiveSite) -> None:
    """Everybody goes on to report: bram comes nearer, the others stay."""
    far_m = 420.0
    while True:
        await asyncio.sleep(EVERY_S)
        far_m = max(120.0, far_m - WALKS_M_S * EVERY_S)
        site.at()
        site.frames(
            site.fix("bram", -far_m * 0.8, -far_m * 0.6, speed_m_s=WALKS_M_S, heading=53.1),
            site.fix("anna", 3, 4, accuracy_m=9),
            site.fix("cees", -1_700, 250, speed_m_s=0.8),
            site.fix("dirk", 1_000, -1_500),
            site.fix("evert", 2_200, 1_400),
        )


async def take(site: LiveSite, browser: Browser, picture: Picture, path: str) -> bytes:
    """Sign in, go there, do what is done; gives the picture."""
    seen = await Somebody.at(
        site, browser, size=SIZES[picture.size], color_scheme=picture.theme, locale="nl-NL"
    )
    account = site.store.account(picture.who)
    assert account is not None
    opened = site.gate.open(account.name, account.role, "local", site.link.now_ms())
    assert isinstance(opened, SignedIn)
    site.services.duty_changed(site.link.now_ms())
    cookie = {"name": site.services.cookie, "value": opened.token, "url": site.url}
    await seen.page.context.add_cookies([cookie])  # type: ignore[list-item]
    await seen.page.goto(f"{site.url}/{path}")
    await seen.page.wait_for_selector("#main > *")
    if picture.doing is not None:
        await picture.doing(seen)
    await asyncio.sleep(picture.settle_s)
    raw = await seen.page.screenshot()
    await seen.page.context.close()
    if seen.faults:
        sys.exit(f"{picture.name}: {seen.faults}")
    return raw


def small(raw: bytes) -> bytes:
    """The same with few colours, which is what a page in grey has."""
    found = io.BytesIO()
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(found, "PNG", optimize=True)
    return found.getvalue()


async def everything(folder: Path, wanted: tuple[str, ...]) -> None:
    """Make the pictures."""
    settings = Settings(site_name="Meldcentrale", centre=(4.48, 51.92, 12.0))
    with tempfile.TemporaryDirectory() as kept:
        site = LiveSite(Path(kept), settings=settings, since_s=1_000)
        site.people()
        paths = evening(site)
        going_on = [asyncio.create_task(one) for one in (site.keep_ticking(), reporting(site))]
        async with site.serving(), chromium(with_map=True) as browser:
            for picture in PICTURES:
                if picture.name not in wanted:
                    continue
                if "without-watch" in picture.name:
                    site.without_watch()
                else:
                    site.healthy()
                raw = await take(site, browser, picture, paths.get(picture.path, picture.path))
                made = small(raw)
                (folder / f"{picture.name}.png").write_bytes(made)
                sys.stdout.write(f"{picture.name}.png: {len(made) // 1024} KiB\n")
        for task in going_on:
            task.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)
        site.close()


def main() -> None:
    """Make those of the documents, or all of them for somebody who looks for faults."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--all", action="store_true", help="also those that no document shows")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    names = [picture.name for picture in PICTURES]
    args.folder.mkdir(parents=True, exist_ok=True)
    wanted = tuple(args.names or (names if args.all else IN_DOCUMENTS))
    asyncio.run(everything(args.folder, wanted))


if __name__ == "__main__":
    main()
