"""The pages beside the room in a real Chromium: shift, wall, caseload; and that all of them fit."""

import asyncio
import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from playwright.async_api import FilePayload

from alerting.book.types import Acknowledge, Priority
from console.settings import Settings, TileSettings
from firmware_contracts import EventCode
from tests.console.browser import MAP, PAGES, Somebody, chromium
from tests.console.live import LiveSite
from tests.console.test_tiles import archive

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

CLIPPED = """() => {
  const found = [];
  const frame = document.querySelector("main");
  if (frame.scrollWidth > frame.clientWidth) found.push(`main is ${frame.scrollWidth} wide`);
  const bar = document.querySelector(".bar");
  if (bar.scrollWidth > bar.clientWidth) found.push("the bar runs out of the page");
  for (const table of document.querySelectorAll("main table")) {
    if (!table.offsetParent) continue;
    const around = table.parentElement.closest(".card, .side, .positions, .figure, section, main");
    const style = getComputedStyle(around);
    const edge = around.getBoundingClientRect().right - parseFloat(style.paddingRight);
    const over = table.getBoundingClientRect().right - edge;
    if (over > 1) found.push(`a table in ${around.className || around.tagName} by ${over}`);
  }
  for (const button of document.querySelectorAll("main button, .bar button"))
    if (button.scrollWidth > button.clientWidth + 1) found.push(`button ${button.textContent}`);
  return found;
}"""


@pytest.mark.parametrize("live", [1_000], indirect=True)
async def test_no_page_loses_a_column_on_a_laptop_or_a_desk(live):
    live.approach()
    live.event("fleur", EventCode.PANIC)
    pair = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "bram")
    found = []
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        page = lead.page
        await lead.sign_in("lead")
        for path in (*PAGES[:-1], f"#/incidents/{pair.incident_id}"):
            await lead.go(path.replace("REPLAY", f"#/replay/incident/{pair.incident_id}"))
            await page.wait_for_selector("#main > *")
            await asyncio.sleep(0.5)
            if path == "#/last-known":
                await page.fill("dialog [name=reason]", "kijken of het past")
                await page.keyboard.press("Enter")
                await page.wait_for_selector("#main tbody tr")
            for width, height in ((1280, 800), (1920, 1080)):
                await page.set_viewport_size({"width": width, "height": height})
                await asyncio.sleep(0.1)
                clipped = await page.evaluate(CLIPPED)
                found += [f"{width} {path}: {one}" for one in clipped]
        assert lead.faults == []
    assert found == []


async def test_a_shift_is_handed_over_and_the_next_one_reads_what_was_said(live):
    live.event("evert", EventCode.STRAP_CUT)
    live.event("fleur", EventCode.PANIC)
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        piet = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        await piet.sign_in("piet")
        await jan.go("#/shift")
        await jan.sees("Noodknop fleur", ".card")
        # All that is open was spoken about, unless one says that it was not.
        await jan.page.get_by_label("Sabotage evert").uncheck()
        await jan.page.fill("[name=text]", "buurvrouw van fleur is gebeld")
        await jan.page.fill("[name=to]", "piet")
        await jan.page.keyboard.press("Enter")
        await jan.sees("De dienst is overgedragen aan piet", ".card")
        (shift,) = live.room.model.world.shifts
        assert (shift.by, shift.to) == ("jan", "piet")
        (told,) = shift.incidents
        assert live.room.model.incidents.rows[told].protected_id == "fleur"
        await piet.go("#/shift")
        await piet.sees("buurvrouw van fleur is gebeld", ".card")
        await piet.sees("In dienst: jan, piet", ".card")
        assert jan.faults + piet.faults == []


async def test_the_wall_and_the_caseload_say_how_the_room_is_doing(live):
    live.healthy()
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        await lead.go("#/wall")
        await lead.sees("Niemand wacht op antwoord", ".wall")
        await lead.sees("bewaking: goed", ".wall")
        live.event("fleur", EventCode.PANIC)
        live.event("evert", EventCode.STRAP_CUT)
        await lead.sees("Noodknop fleur", ".wall")
        box = lead.page.locator(".figure", has_text="wachten").first
        await box.filter(has_text="2").wait_for()
        await lead.page.locator(".figure.p1", has_text="wachten").wait_for()
        press = next(r for r in live.room.model.incidents.open_rows() if r.protected_id == "fleur")
        live.command(Acknowledge(incident_id=press.incident_id, by="piet"))
        await box.filter(has_text="1").wait_for()
        sizes = await lead.page.locator(".figure b").evaluate_all(
            "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
        )
        assert min(sizes) >= 48  # read from across the room

        await lead.go("#/caseload")
        row = lead.page.locator("tbody tr", has_text="zaak-fleur")
        await row.filter(has_text="incident open").filter(has_text="Noodknop 1").wait_for()
        # Who needs nobody stands below who does.
        names = await lead.texts("tbody th")
        assert set(names[:2]) == {"zaak-fleur", "zaak-evert"}
        await lead.page.fill("[type=search]", "evert")
        await lead.page.locator("tbody tr", has_text="zaak-fleur").wait_for(state="detached")
        assert await lead.texts("tbody th") == ["zaak-evert"]
        assert lead.faults == []


async def test_a_flood_is_said_in_large_letters_until_it_is_over(live):
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        live.event("fleur", EventCode.PANIC)
        await jan.sees("Noodknop", "#queue-list")
        assert await jan.page.locator(".banner").count() == 0
        pages = live.room.model.load.pages
        (page,) = pages
        pages.extend([page] * 11)
        await jan.sees("ALARMVLOED: 12 in tien minuten", ".banner")
        await jan.sees("noodknop en nabijheid staan altijd bovenaan", ".banner")
        while len(pages) > 1:
            pages.pop()
        await jan.page.wait_for_selector(".banner", state="detached")
        assert jan.faults == []


async def test_by_hand_an_alarm_is_raised_a_class_is_out_of_service_and_a_shelving_ends(live):
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        page = lead.page
        # Somebody calls: an incident about her, with who raised it and why.
        await lead.go("#/cases/zaak-fleur")
        await page.click("text=Alarm doorgeven")
        await page.fill("dialog [name=reason]", "zij belt: hij staat voor de deur")
        await page.click("dialog button[type=submit]")
        await lead.sees("Doorgegeven om", ".card")
        row = live.room.only_incident()
        assert (row.protected_id, row.drill) == ("fleur", False)
        assert row.priority is Priority.CRITICAL

        # A device goes to repair: its alarms are recorded and page nobody.
        await lead.go("#/cases/zaak-dirk")
        await page.click("text=Buiten dienst zetten")
        offered = await page.locator("dialog [name=alarm_class] option").all_inner_texts()
        assert "Noodknop" not in offered  # what is latched cannot be silenced
        await page.select_option("dialog [name=alarm_class]", "device-dying")
        await page.fill("dialog [name=reason]", "band wordt vervangen")
        await page.click("dialog button[type=submit]")
        await lead.sees("Buiten dienst gezet om", ".card")
        live.event("dirk", EventCode.SHUTDOWN)
        dying = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "dirk")
        await lead.go(f"#/incidents/{dying.incident_id}")
        await lead.sees("band wordt vervangen", ".tags")
        await (
            page.locator("#queue-list [role=group]", has_text="dirk")
            .filter(has_text="Stil")
            .wait_for()
        )

        # In service again: it is heard. Then silent for a while, and heard again.
        await lead.go("#/cases/zaak-dirk")
        await page.click("text=Buiten dienst zetten")
        await page.select_option("dialog [name=alarm_class]", "device-dying")
        await page.fill("dialog [name=reason]", "band is vervangen")
        await page.check("dialog [name=end]")
        await page.click("dialog button[type=submit]")
        await lead.sees("Weer in dienst om", ".card")
        await lead.go(f"#/incidents/{dying.incident_id}")
        await page.click("text=Stil zetten")
        await page.fill("dialog [name=reason]", "wacht op de monteur")
        await page.click("dialog button[type=submit]")
        await lead.sees("Stil gezet om", ".answer")
        await page.click("button:visible:has-text('Niet langer stil')")
        await lead.sees("Niet langer stil vanaf", ".answer")
        (alarm,) = live.room.model.incidents.rows[dying.incident_id].alarms.values()
        assert (alarm.shelved_until_ms, alarm.out_of_service) == (None, "")
        assert lead.faults == []


def area(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def box(lon: float, lat: float, size: float) -> list[list[float]]:
    return [[lon, lat], [lon + size, lat], [lon + size, lat + size], [lon, lat + size], [lon, lat]]


def upload(content: object) -> FilePayload:
    raw = json.dumps(content).encode()
    return {"name": "gebied.geojson", "mimeType": "application/geo+json", "buffer": raw}


async def test_an_area_from_a_file_is_proposed_whole_until_somebody_draws_on(live):
    hole = area(box(4.50, 51.93, 0.01), box(4.503, 51.933, 0.002)[::-1])
    other = area(box(4.52, 51.93, 0.005))
    features = [{"type": "Feature", "properties": {}, "geometry": one} for one in (hole, other)]
    parts = {"type": "FeatureCollection", "features": features}
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        page = lead.page
        await lead.go("#/orders/new")
        await page.select_option("[name=kind]", "area-ban")
        await page.set_input_files("input[type=file]", upload({"type": "Point"}))
        await lead.sees("geen gebied", ".form")
        await page.fill("#order-id", "gebied-evert")
        await page.fill("#order-wearer", "evert")
        await page.wait_for_selector("[name=plan] option[value=partnergeweld]", state="attached")
        await page.select_option("[name=plan]", "partnergeweld")
        await page.fill("#order-zone_id", "zone-evert")
        await page.set_input_files("input[type=file]", upload(parts))
        await lead.sees("Het bestand heeft 2 delen", ".form")
        await page.click("button[type=submit]")
        await lead.sees("Vier ogen")
        (first,) = live.room.model.world.proposals.values()
        assert first.zones[0].geometry == parts

        # The same file, then a ring that somebody typed: the ring counts.
        await lead.go("#/orders/new")
        await page.select_option("[name=kind]", "area-ban")
        await page.set_input_files("input[type=file]", upload(parts))
        await lead.sees("Het bestand heeft 2 delen", ".form")
        await page.fill("[name=places]", "51.94, 4.50\n51.94, 4.51\n51.95, 4.51")
        await page.fill("#order-id", "gebied-cees")
        await page.fill("#order-wearer", "cees")
        await page.select_option("[name=plan]", "partnergeweld")
        await page.fill("#order-zone_id", "zone-cees")
        await page.click("button[type=submit]")
        await lead.sees("gebied-cees", "h1")
        drawn = list(live.room.model.world.proposals.values())[-1]
        assert drawn.order.id == "gebied-cees"
        assert drawn.zones[0].geometry == area(
            [[4.50, 51.94], [4.51, 51.94], [4.51, 51.95], [4.50, 51.94]]
        )

        # A whole proposal as a file needs no form at all.
        said = msgspec.to_builtins(first.order)
        zones = [{"id": "zone-3", "version": 1, "name": "hof", "geometry": hole}]
        whole = {"order": said | {"id": "gebied-3", "zone_ids": ["zone-3"]}, "zones": zones}
        await lead.go("#/orders/new")
        await page.select_option("[name=kind]", "area-ban")
        await page.set_input_files("input[type=file]", upload(whole))
        await lead.sees("gebied-3", "h1")
        assert live.room.model.world.order("gebied-3") is None
        assert lead.faults == []


@pytest.mark.skipif(not MAP.exists(), reason="the map library is not installed (./run test does)")
async def test_tiles_of_the_site_lie_under_what_is_drawn(tmp_path):
    white = io.BytesIO()
    Image.new("RGB", (256, 256), "white").save(white, "PNG")
    file = archive(tmp_path / "base.pmtiles", draw=lambda *_: white.getvalue())
    settings = Settings(tiles=TileSettings(file=file, max_zoom=4), centre=(4.48, 51.92, 4.0))
    live = LiveSite(tmp_path, settings=settings)
    live.people()
    async with live.serving(), chromium(with_map=True) as browser:
        lead = await Somebody.at(live, browser, size=(1280, 800), color_scheme="dark")
        asked: list[str] = []
        lead.page.on("request", lambda request: asked.append(request.url))
        await lead.sign_in("lead")
        await lead.go("#/orders/new")
        page = lead.page
        await page.select_option("[name=kind]", "area-ban")
        await page.wait_for_selector(".map .tools:visible")
        await page.fill("[name=places]", "60, 0\n60, 9\n40, 9\n40, 0")
        area_of_map = await page.locator(".map .overlay").bounding_box()
        assert area_of_map is not None
        for _ in range(40):
            await asyncio.sleep(0.25)
            shot = Image.open(io.BytesIO(await page.screenshot(clip=area_of_map))).convert("L")
            light = np.asarray(shot)[shot.height // 2 + 60]
            drawn, beside = int(light[shot.width // 2 + 9]), int(light[shot.width // 2 - 200])
            # Light under a dark frame is the tile; the area on it has made it darker.
            if beside > 150 and drawn < beside:
                break
        else:
            pytest.fail(f"tiles {beside}, area {drawn}")
        tiles = [url for url in asked if "/tiles/" in url]
        assert tiles
        assert all(url.startswith((live.url, "blob:")) for url in asked)
        assert lead.faults == []
    live.close()
