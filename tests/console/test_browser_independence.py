"""Without the watch: what the page says, shows and prints."""

import pytest

from tests.console.browser import Somebody, chromium
from tests.console.live import PEOPLE, LiveSite

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_without_the_watch_it_says_so_in_large_letters_and_shows_what_was_last_known(
    tmp_path,
):
    live = LiveSite(tmp_path, since_s=1_000)
    live.people()
    live.approach()
    pair = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "bram")
    async with live.serving(), chromium() as browser:
        lead = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        page = lead.page
        await lead.go(f"#/incidents/{pair.incident_id}")
        await lead.sees("51.92005, 4.47", ".positions")
        assert await page.locator(".banner").count() == 0

        live.without_watch()
        await lead.sees("NIEMAND BEWAAKT", ".banner")
        banner = await page.locator(".banner > span").first.evaluate(
            "one => parseFloat(getComputedStyle(one).fontSize)"
        )
        assert banner >= 24
        # The incident, its people and how old their positions are, which grow older.
        await lead.sees("51.92005, 4.47", ".positions")
        age = page.locator(".positions td.strong").first
        seconds = int((await age.inner_text()).split()[0])
        await page.locator(".positions").filter(has_text=f"{seconds + 3} s").wait_for()

        await page.click(".banner a")
        await page.fill("dialog [name=reason]", "de bewaking staat stil")
        await page.keyboard.press("Enter")
        rows = page.locator("#main tbody tr")
        await rows.nth(5).wait_for()
        said = await rows.all_inner_texts()
        assert {one.split()[0] for one in said} == set(PEOPLE)
        assert "51.92005, 4.47" in next(one for one in said if one.startswith("anna"))
        assert "nooit" in next(one for one in said if one.startswith("fleur"))
        (logged,) = [one for one in live.link.log if one.reason == "de bewaking staat stil"]
        assert len(logged.persons) == 6

        # On paper: the list, when it was made, and nothing that belongs to a screen.
        await page.emulate_media(media="print")
        assert await rows.first.is_visible()
        assert await page.locator("caption").is_visible()
        for one in (".bar", ".banners", ".no-print >> nth=0"):
            assert not await page.locator(one).is_visible()
        assert (await page.pdf(format="A4", landscape=True)).startswith(b"%PDF")
        assert lead.faults == []
    live.close()
