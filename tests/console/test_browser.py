"""The page in a real Chromium: as operators use it, by keyboard, through deaths of the console."""

import asyncio
import math

import pytest
import shapely

from alerting.book.types import Acknowledge
from console.model.world import ProposalState
from firmware_contracts import EventCode
from tests.console.browser import AXE, MAP, PAGES, Somebody, chromium
from tests.console.live import LiveSite
from tests.console.site import PASSWORD

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def only(live: LiveSite):
    return live.room.only_incident()


async def test_a_press_from_sign_in_to_closed_by_keyboard(live):
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        piet = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        await piet.sign_in("piet")
        await jan.sees("Er is niets open")
        live.event("fleur", EventCode.PANIC)
        await jan.sees("Noodknop", "#queue-list")
        await jan.sees("Bel of luister mee", ".incident .next")
        assert "(1!)" in await jan.page.title()

        await jan.page.keyboard.press("a")
        await jan.sees("Bevestigd om", ".answer")
        assert only(live).owner == "jan"
        await jan.sees("In behandeling", "#queue-list")

        await jan.page.keyboard.press("n")
        await jan.page.fill("dialog textarea", "buurvrouw gebeld")
        await jan.sends()
        await jan.sees("buurvrouw gebeld", ".timeline")

        await jan.page.keyboard.press("o")
        await jan.page.fill("dialog [name=to]", "piet")
        await jan.page.fill("dialog [name=text]", "politie is er")
        await jan.sends()
        await piet.sees("Aan u overgedragen", "#queue-list")
        await piet.page.keyboard.press("t")
        await piet.sees("Overgenomen om", ".answer")
        await jan.sees("bij piet", "#queue-list")

        await piet.page.keyboard.press("s")
        await piet.sees("Een toelichting is nodig", "dialog")
        await piet.page.keyboard.press("1")
        await piet.page.keyboard.type("politie heeft haar gesproken")
        await piet.sends()
        await piet.sees("een tweede persoon tekent mee", ".answer")
        await piet.page.locator(".actions button", has_text="Afsluiten").wait_for(state="hidden")
        assert only(live).open

        await jan.sees("Wacht op uw handtekening", "#queue-list")
        await jan.page.keyboard.press("s")
        await jan.sees("politie heeft haar gesproken", "dialog")
        await jan.sends()
        await piet.sees("Er is niets open")
        (row,) = live.room.model.incidents.rows.values()
        assert (row.open, str(row.disposition)) == (False, "handled")
        assert (row.closed_by, row.countersigned_by) == ("piet", "jan")
        assert jan.faults + piet.faults == []


async def test_the_queue_is_by_priority_and_time_and_says_what_is_in_hand(live):
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        live.event("dirk", EventCode.SHUTDOWN)
        live.event("evert", EventCode.STRAP_CUT)
        live.event("fleur", EventCode.PANIC)
        await jan.sees("Noodknop", "#queue-list")
        await jan.sees("Sabotage", "#queue-list")
        await jan.sees("Apparaat valt uit", "#queue-list")
        assert await jan.texts(".entry .what") == ["Sabotage", "Noodknop", "Apparaat valt uit"]
        tamper = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "evert")
        live.command(Acknowledge(incident_id=tamper.incident_id, by="piet"))
        await jan.sees("bij piet", "#queue-list")
        assert await jan.texts(".entry .what") == ["Noodknop", "Apparaat valt uit", "Sabotage"]
        # By keyboard through the queue; what is chosen is announced and shown.
        await jan.page.focus("#queue-list")
        await jan.page.keyboard.press("Home")
        await jan.sees("fleur", ".incident header")
        await jan.page.keyboard.press("ArrowDown")
        await jan.sees("dirk", ".incident header")
        chosen = await jan.page.get_attribute("#queue-list", "aria-activedescendant")
        assert await jan.page.get_attribute(f"[id='{chosen}']", "aria-selected") == "true"
        assert jan.faults == []


async def test_a_page_whose_console_was_killed_says_so_and_then_misses_nothing(tmp_path):
    live = LiveSite(tmp_path)
    live.people()
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        async with live.serving():
            await jan.sign_in("jan")
            live.event("fleur", EventCode.PANIC)
            await jan.sees("Noodknop", "#queue-list")
        await jan.sees("GEEN VERBINDING MET DE CONSOLE", ".banners")
        first = only(live)
        live.event("evert", EventCode.STRAP_CUT)
        live.command(Acknowledge(incident_id=first.incident_id, by="piet"))
        async with live.serving():
            await jan.sees("Sabotage", "#queue-list")
            await jan.sees("bij piet", "#queue-list")
            await jan.page.wait_for_selector(".banner", state="detached")
        assert jan.faults == []
    live.close()


@pytest.mark.parametrize("live", [1_000], indirect=True)
async def test_without_a_map_the_list_says_where_everybody_is(live):
    live.approach()
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        pair = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "bram")
        await jan.go(f"#/incidents/{pair.incident_id}")
        await jan.sees("De lijst hieronder zegt hetzelfde", ".map")
        await jan.sees("51.92005, 4.47", ".positions")
        rows = await jan.texts(".positions tbody tr")
        assert [row.split()[0] for row in rows] == ["bram", "anna"]
        await jan.sees("416 m", ".map .contact")
        await jan.sees("tussen de laatste posities", ".incident")


@pytest.mark.parametrize("live", [1_000], indirect=True)
@pytest.mark.skipif(not MAP.exists(), reason="the map library is not installed (./run test does)")
async def test_the_map_shows_both_persons_and_replay_moves_them(live):
    live.approach()
    async with chromium(with_map=True) as browser:
        jan = await Somebody.at(live, browser, size=(1100, 640))
        await jan.sign_in("jan")
        pair = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "bram")
        await jan.go(f"#/incidents/{pair.incident_id}")
        await jan.sees("bram", ".marker")
        await jan.sees("anna", ".marker")
        await jan.page.keyboard.press("r")
        await jan.sees("Met een straal van 500 m: 1 keer binnen", ".replay")
        await jan.page.fill(".replay input[type=number]", "2000")
        await jan.sees("Met een straal van 2 km: 1 keer binnen", ".replay")
        await jan.sees("bram", ".replay .marker")
        slider = ".replay input[type=range]"
        before = await jan.texts(".replay .now")
        await jan.page.focus(slider)
        for _ in range(60):
            await jan.page.keyboard.press("ArrowLeft")
        assert await jan.texts(".replay .now") != before
        assert jan.faults == []


ON_MAP = """([x, y]) => {
  const canvas = document.querySelector(".map .overlay");
  const [left, top] = [x, y].map((one) => Math.round((one * canvas.width) / canvas.clientWidth));
  return canvas.getContext("2d").getImageData(left, top, 1, 1).data[3];
}"""


@pytest.mark.skipif(not MAP.exists(), reason="the map library is not installed (./run test does)")
async def test_the_corners_of_an_area_are_clicked_on_the_map(live):
    async with chromium(with_map=True) as browser:
        lead = await Somebody.at(live, browser, size=(1280, 800))
        await lead.sign_in("lead")
        await lead.go("#/orders/new")
        page = lead.page
        await page.select_option("[name=kind]", "area-ban")
        await page.wait_for_selector(".map .tools:visible")
        canvas = page.locator(".map .overlay")
        box = await canvas.bounding_box()
        assert box is not None
        middle = box["width"] / 2, box["height"] / 2
        # Nothing is drawn by a click before one asks to draw.
        await page.mouse.click(box["x"] + middle[0], box["y"] + middle[1])
        assert await page.input_value("[name=places]") == ""
        await page.click("text=Tekenen op de kaart")
        offsets = [(-90, -70), (110, -60), (100, 80), (-80, 90)]
        for east, south in offsets:
            x, y = box["x"] + middle[0] + east, box["y"] + middle[1] + south
            await page.mouse.click(x, y)
        typed = await page.input_value("[name=places]")
        places = [tuple(map(float, line.split(","))) for line in typed.split("\n")]
        assert len(places) == 4
        # Where they are by the projection of web maps (512 pixels around the world at zoom 0).
        settings = await page.evaluate("() => fetch('/v1/page-settings').then((one) => one.json())")
        world_px = 512 * 2 ** settings["zoom"]
        lat0, lon0 = settings["latitude"], settings["longitude"]
        y0 = math.asinh(math.tan(math.radians(lat0)))
        for (lat, lon), (east, south) in zip(places, offsets, strict=True):
            assert lon == pytest.approx(lon0 + 360 * east / world_px, abs=360 / world_px)
            turn = y0 - 2 * math.pi * south / world_px
            expected = math.degrees(math.atan(math.sinh(turn)))
            assert lat == pytest.approx(expected, abs=360 / world_px)
        # It is drawn where it was clicked: a dot on each corner, the area between, nothing beyond.
        await page.wait_for_timeout(200)
        for east, south in offsets:
            assert await page.evaluate(ON_MAP, [middle[0] + east, middle[1] + south]) == 255
        shades = [await page.evaluate(ON_MAP, [middle[0] + x, middle[1] + 11]) for x in (0, 5, -5)]
        assert all(shade in (51, 255) for shade in shades)
        assert 51 in shades  # a fifth of the colour: the area; a line of the grid is whole
        beyond = [await page.evaluate(ON_MAP, [middle[0] + x, 30]) for x in (-200, -207, -214)]
        assert 0 in beyond
        # The last corner is taken back by keyboard; clicks do nothing when drawing has ended.
        await page.focus("text=Punt terug")
        await page.keyboard.press("Enter")
        assert (await page.input_value("[name=places]")).split("\n") == typed.split("\n")[:3]
        await page.focus("text=Tekenen op de kaart")
        await page.keyboard.press("Space")
        await page.mouse.click(box["x"] + middle[0], box["y"] + middle[1])
        assert len((await page.input_value("[name=places]")).split("\n")) == 3
        assert lead.faults == []


@pytest.mark.parametrize("live", [1_000], indirect=True)
async def test_an_order_is_drawn_proposed_approved_and_counts(live):
    live.approach(to_m=1_500)
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        other = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        await other.sign_in("vera-t")
        await lead.go("#/orders/new")
        page = lead.page
        await page.select_option("[name=kind]", "area-ban")
        await page.fill("#order-id", "gebied-evert")
        await page.fill("#order-wearer", "evert")
        await page.wait_for_selector("[name=plan] option[value=partnergeweld]", state="attached")
        await page.select_option("[name=plan]", "partnergeweld")
        await page.fill("#order-zone_id", "zone-evert")
        # A square around where evert is: corners as one types them.
        corners = "51.930, 4.508\n51.930, 4.516\n51.935, 4.516\n51.935, 4.508"
        await page.fill("[name=places]", corners)
        await page.click("text=Haalbaarheid")
        await lead.sees("zou 100 % van de tijd een overtreding zijn geweest", ".form")
        await page.click("button[type=submit]")
        await lead.sees("Vier ogen: wie voorstelt, keurt niet zelf goed")
        assert await page.is_disabled("text=Goedkeuren")
        (proposal,) = live.room.model.world.proposals.values()
        assert live.room.model.world.order("gebied-evert") is None

        await other.go("#/orders")
        await other.sees("Wacht op een tweede persoon")
        await other.go(f"#/orders/proposal/{proposal.proposal_id}")
        await other.page.click("text=Goedkeuren")
        await other.sees("goedgekeurd", "h1")
        assert live.room.model.world.proposals[proposal.proposal_id].state is ProposalState.APPROVED
        order = live.room.model.world.order("gebied-evert")
        assert order is not None
        # The watch judges by it: evert is inside.
        for _ in range(12):
            live.journal.now_ms += 10_000
            live.frames(live.fix("evert", 2_200, 1_400))
        classes = [a for r in live.room.model.incidents.open_rows() for a in r.alarm_classes]
        assert "area-breach" in [str(one) for one in classes]
        assert lead.faults + other.faults == []


async def test_the_screen_locks_and_opens_and_speaks_two_languages(live):
    async with chromium() as browser:
        jan = await Somebody.at(live, browser)
        await jan.sign_in("jan")
        await jan.page.keyboard.press("l")
        await jan.sees("Scherm op slot")
        live.event("fleur", EventCode.PANIC)
        await jan.sees("1", ".locked-count")
        assert "fleur" not in await jan.page.inner_text("body")
        # Also for somebody who loads the page anew, or locks it before it has come to the queue.
        await jan.page.reload()
        await jan.sees("1", ".locked-count")
        assert "fleur" not in await jan.page.inner_text("body")
        await jan.page.fill("[name=password]", PASSWORD)
        await jan.page.keyboard.press("Enter")
        await jan.sees("Noodknop", "#queue-list")
        await jan.page.click("text=English")
        await jan.sees("Panic button", "#queue-list")
        await jan.sees("Call or listen in", ".incident .next")
        await jan.page.click("text=Light/dark")
        theme = await jan.page.get_attribute("html", "data-theme")
        await jan.page.reload()
        await jan.sees("Panic button", "#queue-list")
        assert await jan.page.get_attribute("html", "data-theme") == theme
        assert jan.faults == []


@pytest.mark.parametrize("live", [1_000], indirect=True)
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (./run test does)")
async def test_axe_finds_nothing_wrong_with_any_page_in_either_theme(live):
    live.approach()
    live.event("fleur", EventCode.PANIC)
    pair = next(r for r in live.room.model.incidents.open_rows() if r.wearer_id == "bram")
    found: list[str] = []
    async with chromium() as browser:
        nobody = await Somebody.at(live, browser, bypass_csp=True)
        await nobody.page.goto(live.url)
        await nobody.page.wait_for_selector("[name=code]")
        found += await violations(nobody, "sign-in")
        for name, theme in (("lead", "light"), ("lead", "dark"), ("audit", "light")):
            somebody = await Somebody.at(live, browser, bypass_csp=True, color_scheme=theme)
            live.store.account(name)
            await somebody.sign_in(name)
            for path in PAGES:
                if (path == "#/consultations") != (name == "audit"):
                    continue
                where = path.replace("REPLAY", f"#/replay/incident/{pair.incident_id}")
                await somebody.go(where)
                await somebody.page.wait_for_selector("#main > *")
                await asyncio.sleep(0.5)
                found += await violations(somebody, f"{name} {theme} {path}")
                if path == "#/last-known":
                    await somebody.page.keyboard.press("Escape")
            await somebody.page.keyboard.press("?")
            await somebody.page.wait_for_selector("dialog[open]")
            found += await violations(somebody, f"{name} {theme} help")
            live.journal.now_ms += 31_000
        assert nobody.faults == []
    assert found == []


async def violations(somebody: Somebody, where: str) -> list[str]:
    """What axe finds by WCAG 2.2 A and AA and its own good practice."""
    page = somebody.page
    if not await page.evaluate("'axe' in window"):
        await page.add_script_tag(path=AXE)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    result = await page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags
    )
    return [
        f"{where}: {one['id']}: {node['target']} {node['failureSummary'][:160]}"
        for one in result["violations"]
        for node in one["nodes"][:3]
    ]


async def test_a_cover_area_contains_the_address_and_gives_it_away_to_nobody(live):
    async with chromium() as browser:
        lead = await Somebody.at(live, browser)
        await lead.sign_in("lead")
        await lead.go("#/orders/new")
        page = lead.page
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.url} {request.post_data}"))
        await page.select_option("[name=kind]", "area-ban")
        home = shapely.Point(4.51234, 51.93217)
        middles = []
        for _ in range(8):
            await page.click("text=Dekkend gebied")
            await page.fill("dialog [name=place]", f"{home.y}, {home.x}")
            await page.fill("dialog [name=radius]", "400")
            await page.click("dialog button[type=submit]")
            typed = await page.input_value("[name=places]")
            corners = [tuple(map(float, line.split(","))) for line in typed.split("\n")]
            ring = shapely.Polygon([(lon, lat) for lat, lon in corners])
            assert ring.is_valid
            assert ring.contains(home)
            east = (ring.centroid.x - home.x) * 111_195 * math.cos(math.radians(home.y))
            middles.append((east, (ring.centroid.y - home.y) * 111_195))
        far_m = [math.hypot(*one) for one in middles]
        # Its middle lies elsewhere, each time in another direction.
        assert min(far_m) > 50
        assert math.dist(middles[0], middles[1]) > 1
        assert not [one for one in sent if "51.93217" in one or "4.51234" in one]
        assert "51.93217" not in await page.content()
        assert lead.faults == []


ARRANGE = """async (seed) => {
  const { arrange } = await import("/page/js/dom.js");
  let state = seed;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const all = Array.from({ length: 40 }, () => document.createElement("i"));
  const parent = document.createElement("div");
  const same = (wanted) => wanted.every((el, index) => parent.children[index] === el);
  const wrong = [];
  for (let round = 0; round < 300; round += 1) {
    const wanted = all.filter(() => random() < 0.8).sort(() => random() - 0.5);
    arrange(parent, wanted);
    if (parent.children.length !== wanted.length || !same(wanted)) wrong.push(round);
  }
  arrange(parent, all);
  const watcher = new MutationObserver(() => {});
  watcher.observe(parent, { childList: true });
  const touched = (wanted) => {
    arrange(parent, wanted);
    const nodes = ({ addedNodes, removedNodes }) => addedNodes.length + removedNodes.length;
    return watcher.takeRecords().map(nodes).reduce((sum, one) => sum + one, 0);
  };
  const counts = [
    touched(all.slice(1)),
    touched(all),
    touched([...all.slice(1), all[0]]),
    touched([all[0], ...all.slice(1)]),
    touched(all),
  ];
  return { wrong, counts };
}"""


async def test_a_list_is_put_in_order_by_touching_only_what_moves(live):
    async with chromium() as browser:
        somebody = await Somebody.at(live, browser)
        await somebody.page.goto(live.url)
        found = await somebody.page.evaluate(ARRANGE, 20_261_122)
        assert found["wrong"] == []
        # The first of forty goes, comes back, goes to the end, comes back, stays.
        assert found["counts"] == [1, 1, 2, 2, 0]


CHUNKS = """async (seed) => {
  const { Chunks } = await import("/page/js/queue.js");
  let state = seed;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const row = (_, index) => ({ id: `i-${index}`, begins: random() < 0.1, root: document.createElement("i") });
  const all = Array.from({ length: 300 }, row);
  const list = new Chunks();
  list.onseen = () => {};
  document.body.replaceChildren(list.root);
  const shown = () => [...list.root.querySelectorAll("i")];
  const wrong = [];
  for (let round = 0; round < 100; round += 1) {
    const wanted = all.filter(() => random() < 0.8).sort(() => random() - 0.5);
    list.arrange(wanted);
    const found = shown();
    if (found.length !== wanted.length || wanted.some(({ root }, at) => root !== found[at])) wrong.push(round);
    if ([...list.root.children].some((chunk) => !chunk.children.length)) wrong.push(`empty ${round}`);
  }
  list.arrange([]);
  const none = list.root.children.length;
  list.arrange(all);
  const watcher = new MutationObserver(() => {});
  watcher.observe(list.root, { childList: true, subtree: true });
  const plain = all.filter((one) => !one.begins);
  const touched = (wanted) => {
    list.arrange(wanted);
    return watcher.takeRecords().reduce((sum, one) => sum + one.addedNodes.length + one.removedNodes.length, 0);
  };
  const without = (gone) => all.filter((one) => one !== gone);
  const counts = [touched(all), touched(without(plain[100])), touched(all), touched(without(plain.at(-1))), touched(all)];
  for (const { root } of all) root.style.cssText = "display: block; height: 60px";
  await new Promise((done) => setTimeout(done, 400));
  return { wrong, none, counts, sizes: list.root.children.length, seen: list.seen().length };
}"""  # noqa: E501


async def test_a_long_queue_hangs_in_chunks_in_the_same_order(live):
    async with chromium() as browser:
        somebody = await Somebody.at(live, browser)
        await somebody.page.goto(live.url)
        found = await somebody.page.evaluate(CHUNKS, 20_261_122)
        assert found["wrong"] == []
        assert found["none"] == 0
        # One that goes or comes back touches itself alone.
        assert found["counts"] == [0, 1, 1, 1, 1]
        assert 10 < found["sizes"] < 60
        # The clocks that run are of those in sight and near it.
        assert 10 < found["seen"] < 200
