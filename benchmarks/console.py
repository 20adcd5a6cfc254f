"""The console: alarm in the journal to drawn in the page, the page's answers, its memory.

The whole service as in real use (intake, two watch replicas, notifier, console, each a process;
embedded store and broker) under steady fixes, with incidents open already, and a real Chromium that
is signed in as an operator. Buttons are pressed meanwhile, each once. Drawn: the journal's time of
the press until the frame with its row in the queue has been produced. An interaction: from the key
or the click, as the browser stamps it, to the frame after it. Memory: what the page's process has
for itself (its unique set), map included.
"""

import asyncio
import contextlib
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from playwright.async_api import Page, async_playwright

from afstand.cases import check_cases, import_cases
from afstand.demo_accounts import PASSWORD, DemoAccounts
from afstand.roles import open_store
from afstand.site import ROLES, Site, TargetSpec, new_secret, open_site, warm_up_apart
from afstand.tail import wall_ms
from benchmarks import common
from benchmarks.serving import CENTRE, SEED, WEARERS, Load, cases_document, told, wearers
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from simulators.geo import LocalPlane
from simulators.load import LoadTarget, run_load
from simulators.load_plan import plan_load
from simulators.receivers import Kind, Receiver

EVERY_S: Final = 10.0
OPEN: Final = 500
OPENED_PER_S: Final = 25.0
PRESSES_PER_S: Final = 2.0
REST_S: Final = 5.0
"""Between the last press of the incidents that are open already and the first that counts."""
START_AFTER_S: Final = 8.0
BETWEEN_S: Final = 0.25
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
SIZE: Final = {"width": 1600, "height": 1000}
ROWS_AT: Final = [(200, y) for y in range(230, 830, 100)]
"""Places where rows of the queue are, in pixels."""
SOFTWARE_GL: Final = ("--enable-unsafe-swiftshader",)
NO_GL: Final = ("--disable-gpu", "--disable-webgl", "--disable-3d-apis")
PROBE: Final = """
(() => {
  const drawn = (window.drawnAt = {}), heard = (window.heardAt = {}), took = (window.took = []);
  window.EventSource = class extends EventSource {
    constructor(...given) {
      super(...given);
      super.addEventListener("incident", ({ data }) => (heard[JSON.parse(data).id] ??= Date.now()));
    }
  };
  const afterFrame = (then) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = then;
    port2.postMessage(0);
  });
  new MutationObserver((changes) => {
    const ids = [];
    for (const { addedNodes } of changes)
      for (const node of addedNodes)
        if (node.nodeType === 1 && node.matches("[data-incident]")) ids.push(node.dataset.incident);
    if (ids.length) afterFrame(() => { for (const id of ids) drawn[id] ??= Date.now(); });
  }).observe(document, { childList: true, subtree: true });
  for (const name of ["keydown", "click"])
    addEventListener(name, (event) => {
      const what = name === "click" ? name : event.key;
      afterFrame(() => took.push([what, performance.now() - event.timeStamp]));
    }, true);
})()
"""


def pressed(seconds: float) -> Load:
    """A button for every incident that is open already, and for every press that counts."""
    presses = OPEN + round(PRESSES_PER_S * seconds)
    return Load(rate_per_s=WEARERS / EVERY_S, seconds=presses, presses_per_s=1.0)


def publish(seconds: float, start_ms: int, port: int) -> None:
    """The load, in a process of its own: fixes evenly; presses that open, then those that count."""
    buttons = told(pressed(seconds))[0]
    plane = LocalPlane(*CENTRE)
    opening_s = OPEN / OPENED_PER_S
    count_ms = start_ms + round(1000 * (opening_s + REST_S))
    whole_s = opening_s + REST_S + seconds
    plans = (
        plan_load(wearers(), plane, rate_per_s=WEARERS / EVERY_S, duration_s=whole_s,
                  start_ms=start_ms, seed=SEED),
        plan_load(buttons[:OPEN], plane, rate_per_s=0.0, panic_per_s=OPENED_PER_S,
                  duration_s=opening_s, start_ms=start_ms, seed=SEED),
        plan_load(buttons[OPEN:], plane, rate_per_s=0.0, panic_per_s=PRESSES_PER_S,
                  duration_s=seconds, start_ms=count_ms, seed=SEED),
    )  # fmt: skip

    async def all_of_them() -> None:
        prefixes = ("fixes", "opening", "counting")
        targets = [LoadTarget("127.0.0.1", port, connections=4, client_prefix=p) for p in prefixes]
        await asyncio.gather(*(run_load(*one) for one in zip(plans, targets, strict=True)))

    asyncio.run(all_of_them())


@contextlib.asynccontextmanager
async def chromium(*, with_map: bool) -> AsyncIterator[Page]:
    """A page with the probe in it."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        sys.exit("this benchmark needs Chromium (./run test installs it; Debian package: chromium)")
    async with async_playwright() as playwright:
        args = ["--no-sandbox", *(SOFTWARE_GL if with_map else NO_GL)]
        browser = await playwright.chromium.launch(executable_path=binary, args=args)
        context = await browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
        page = await context.new_page()
        page.set_default_timeout(120_000)
        await page.add_init_script(PROBE)
        try:
            yield page
        finally:
            await browser.close()


async def sign_in(page: Page, site: Site, accounts: DemoAccounts) -> None:
    """Sign in as the demo's operator."""
    await page.goto(site.console_url)
    await page.fill("[name=name]", "operator")
    await page.fill("[name=password]", PASSWORD)
    await page.fill("[name=code]", accounts.code(wall_ms()))
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".bar")


async def work(page: Page, until_s: float) -> None:
    """What an operator does, over and over: through the queue, notes, help, a click."""
    draw = random.Random(SEED)
    while time.monotonic() < until_s:
        match draw.randrange(10):
            case 0:
                for key in ("n", "x", "y", "Escape"):
                    await press(page, key)
            case 1:
                for key in ("?", "Escape"):
                    await press(page, key)
            case 2:
                # By place: a search for a row that can be seen has the browser lay out all of them.
                await page.mouse.click(*ROWS_AT[draw.randrange(len(ROWS_AT))])
                await asyncio.sleep(BETWEEN_S)
            case 3:
                await press(page, draw.choice(["Home", "End"]))
            case _:
                await press(page, draw.choice(["j", "j", "k"]))


async def press(page: Page, key: str) -> None:
    """Press a key and wait a little, as a person does."""
    await page.keyboard.press(key)
    await asyncio.sleep(BETWEEN_S)


def processor_s() -> dict[str, float]:
    """Processor time so far of each process, of the service by its role."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            kinds = [word.partition("=")[2] for word in words if word.startswith("--type=")]
            roles = [word for word in (*ROLES, "watch", "console") if word in words]
            name = next(iter((*kinds, *roles)), process.name())
            spent = process.cpu_times()
            found[name] = found.get(name, 0.0) + spent.user + spent.system
    return found


def machine_s() -> float:
    """Processor time so far of everything on this machine."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def memory_mb() -> float:
    """The largest unique set of the browser's page processes."""
    found = [0.0]
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "--type=renderer" in process.cmdline():
                found.append(process.memory_full_info().uss / 2**20)
    return max(found)


async def measure(seconds: float, folder: Path, *, with_map: bool) -> dict[str, Any]:
    """Start the service, open the incidents, then press, work and note."""
    secret = new_secret()
    receiver = Receiver("meldkamer", Kind.CAP, [secret])
    target = TargetSpec(
        name="meldkamer", kind="cap", url=await receiver.start(), secret=secret,
        audiences=("police",), extra={"sender": "bench@afstand.example"},
    )  # fmt: skip
    document = cases_document([pressed(seconds)])
    roles = (*ROLES, "console")
    try:
        async with open_site(folder, [target]) as (site, _, at_broker):
            async with open_store(site.config) as store:
                registry = Registry(store, KeyBox(site.master_key))
                cases = check_cases(document, "bench")
                await import_cases(cases, registry, Journal(store), site.config.partitions)
            await warm_up_apart()
            accounts = await asyncio.to_thread(DemoAccounts, site)
            site.start(roles)
            await site.ready(roles)
            seen = await at_the_page(site, accounts, at_broker.port, seconds, with_map=with_map)
            told_to = [one for one in receiver.arrivals if one.alarm_class == "panic"]
            return seen | {"pressed": {one.incident for one in told_to}}
    finally:
        await receiver.stop()


async def at_the_page(
    site: Site, accounts: DemoAccounts, port: int, seconds: float, *, with_map: bool
) -> dict[str, Any]:
    """What the browser saw, and when."""
    start_ms = wall_ms() + round(START_AFTER_S * 1000)
    load = multiprocessing.get_context("spawn").Process(
        target=publish, args=(seconds, start_ms, port)
    )
    load.start()
    count_ms = start_ms + round(1000 * (OPEN / OPENED_PER_S + REST_S))
    async with chromium(with_map=with_map) as page:
        await sign_in(page, site, accounts)
        print(f"signed in; {OPEN} incidents open, then {seconds:.0f} s of presses ...", flush=True)
        await asyncio.sleep(max(0.0, count_ms / 1000 - time.time() - REST_S / 2))
        await page.focus("#queue-list")
        await page.evaluate("() => { took.length = 0 }")
        until_s = time.monotonic() + (count_ms / 1000 - time.time()) + seconds
        spent_s, busy_s, since_s = processor_s(), machine_s(), time.monotonic()
        await work(page, until_s)
        for_s = time.monotonic() - since_s
        shares = {name: 100 * (at - spent_s.get(name, 0.0)) / for_s
                  for name, at in processor_s().items()}  # fmt: skip
        shares["(others)"] = 100 * (machine_s() - busy_s) / for_s - sum(shares.values())
        await asyncio.to_thread(load.join)
        await asyncio.sleep(2.0)
        drawn = await page.evaluate("() => drawnAt")
        heard = await page.evaluate("() => heardAt")
        took = await page.evaluate("() => took")
        shown = await page.locator("#queue-list [data-incident]").count()
        heap = await page.evaluate("() => performance.memory.usedJSHeapSize")
        # Last: to count its memory holds the page's process up.
        held_mb = memory_mb()
    return {
        "drawn_ms": [at - born(one) for one, at in drawn.items() if born(one) >= count_ms],
        "slowest": sorted(
            (
                (at - born(one), (born(one) - count_ms) / 1000)
                for one, at in drawn.items()
                if born(one) >= count_ms
            ),
            reverse=True,
        )[:3],
        "heard_ms": [at - born(one) for one, at in heard.items() if born(one) >= count_ms],
        "took": took,
        "shares": shares,
        "open": shown,
        "memory_mb": held_mb,
        "heap_mb": heap / 2**20,
        "drawn": [one for one in drawn if born(one) >= count_ms],
    }


def born(incident_id: str) -> int:
    """The journal's time of the entry that opened an incident: it is in the id."""
    return int(incident_id.split("-")[-3])


def main(argv: list[str]) -> int:
    """Measure and report; 1 when an incident was not drawn at all."""
    parser = common.parser("console", (__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of presses (60)")
    parser.add_argument(
        "--no-map", action="store_true",
        help="without WebGL: the page shows its lists only (a map drawn in software takes a core)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="afstand-bench-") as folder:
        seen = asyncio.run(measure(args.seconds, Path(folder), with_map=not args.no_map))
    drawn, heard = np.array(seen["drawn_ms"]), np.array(seen["heard_ms"])
    took = np.array([ms for _, ms in seen["took"]])
    pressed_and_drawn = len(set(seen["drawn"]) & seen["pressed"])
    missing = round(PRESSES_PER_S * args.seconds) - pressed_and_drawn
    if not len(drawn) or not len(took):
        print("nothing was drawn or done", file=sys.stderr)
        return 1
    figures = {
        "drawn_p50_ms": float(np.percentile(drawn, 50)),
        "drawn_p99_ms": float(np.percentile(drawn, 99)),
        "drawn_missing": float(missing),
        "told_p50_ms": float(np.percentile(heard, 50)),
        "told_p99_ms": float(np.percentile(heard, 99)),
        "interaction_p50_ms": float(np.percentile(took, 50)),
        "interaction_p99_ms": float(np.percentile(took, 99)),
        "memory_mb": seen["memory_mb"],
        "heap_mb": seen["heap_mb"],
        "open_incidents": float(seen["open"]),
    }
    by_key: dict[str, list[float]] = {}
    for key, ms in seen["took"]:
        by_key.setdefault(key, []).append(ms)
    rows: list[dict[str, object]] = [
        {"what": "told to the page", "count": len(heard), "p50 ms": figures["told_p50_ms"],
         "p99 ms": figures["told_p99_ms"], "max ms": float(heard.max())},
        {"what": "drawn", "count": len(drawn), "p50 ms": figures["drawn_p50_ms"],
         "p99 ms": figures["drawn_p99_ms"], "max ms": float(drawn.max())},
        *({"what": key, "count": len(all_ms), "p50 ms": float(np.percentile(all_ms, 50)),
           "p99 ms": float(np.percentile(all_ms, 99)), "max ms": max(all_ms)}
          for key, all_ms in sorted(by_key.items())),
    ]  # fmt: skip

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for values, label in ((drawn, "journal to drawn"), (took, "interaction")):
            axes.plot(np.sort(values), np.linspace(0, 100, len(values)), label=label)
        axes.set_xlabel("ms")
        axes.set_ylabel("% within")
        axes.set_xlim(left=0)
        axes.legend()

    print("\nprocessor, % of one core, meanwhile:")
    for name, share in sorted(seen["shares"].items(), key=lambda one: -one[1]):
        print(f"  {name:24} {share:6.1f}")
    slowest = ", ".join(f"{ms} ms at {at_s:.1f} s" for ms, at_s in seen["slowest"])
    print(f"drawn last: {slowest} of {args.seconds:.0f} s")
    common.report("console", figures, rows, plot, args)
    return 1 if missing else 0
