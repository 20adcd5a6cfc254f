"""The loss of a part, as real processes tell it: its rule fires, and the watchdog stops.

A whole service is scraped as Prometheus would; a replica, a receiver, the broker and the store go
away and come back. What was scraped is given to promtool with the rules that are shipped.
"""

import asyncio
import contextlib
import json
import math
import shutil
from collections import defaultdict

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alerting.book.types import AlarmClass, RaiseByHand
from tests.acceptance.service import Service, running_service
from tests.deploy.promtool import PROMETHEUS, promtool, run

ROLES = ("intake", "watch-0", "watch-1", "notify")
SCRAPE_S = 5  # as prometheus.example.yml says; it passes faster here
PAUSE_S = 0.15


class Scraper:
    """Asks every role for its metrics again and again, and remembers what it said when."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._series: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self.count = 0

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session:
            while True:
                await asyncio.gather(*(self._ask(session, role) for role in ROLES))
                self.count += 1
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, session: aiohttp.ClientSession, role: str) -> None:
        name = role.partition("-")[0]
        own = {"job": "afstand", "role": name, "instance": role}
        text = ""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            url = f"http://127.0.0.1:{self._service.site.health_ports[role]}/metrics"
            async with session.get(url) as response:
                text = await response.text()
        self._note("up", own, 1.0 if text else 0.0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._note(sample.name, {**sample.labels, **own}, sample.value)

    def _note(self, name: str, labels: dict[str, str], value: float) -> None:
        said = ", ".join(f"{key}={json.dumps(labels[key])}" for key in sorted(labels))
        self._series[f"{name}{{{said}}}"][self.count] = "_" if math.isnan(value) else repr(value)

    async def times(self, number: int) -> int:
        """So many more scrapes; gives the number of the last one."""
        end = self.count + number
        await self._service.until(lambda: self.count >= end, "scrapes")
        return self.count - 1

    def input_series(self) -> list[dict[str, str]]:
        """What promtool reads. A process that does not answer has no series any more."""
        return [
            {"series": series, "values": " ".join(said.get(n, "stale") for n in range(self.count))}
            for series, said in self._series.items()
        ]


def asked(at: int, lost: set[str]) -> list[dict]:
    """What promtool is to find at a scrape: these parts lost; the watchdog when there is none."""
    time = f"{at * SCRAPE_S}s"
    parts = [{"labels": f'{{lost="{part}"}}', "value": 1} for part in sorted(lost)]
    watchdog = [] if lost else [{"labels": '{alertname="AfstandWatchdog"}', "value": 1}]
    firing = 'ALERTS{alertstate="firing", lost=~"replica|receiver|broker|store"}'
    return [
        {"expr": f"max by (lost) ({firing})", "eval_time": time, "exp_samples": parts},
        {"expr": 'max by (alertname) (ALERTS{alertname="AfstandWatchdog"})', "eval_time": time,
         "exp_samples": watchdog},
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.servers
async def test_the_loss_of_each_part_is_told_by_its_rule_and_stops_the_watchdog(tmp_path):
    promtool()
    found: list[dict] = []
    async with running_service(tmp_path) as service:
        site = service.site
        await service.start(*ROLES)
        scraper = Scraper(service)
        scraping = asyncio.create_task(scraper.run())
        found += asked(await scraper.times(15), set())

        await site.children["watch-1"].stop()
        await service.receivers["monitoring-centre"].stop()
        for number in range(6):
            await service.command(
                RaiseByHand(
                    alarm_class=AlarmClass.PANIC, by="op", reason="call", protected_id=f"v{number}"
                )
            )
        found += asked(await scraper.times(30), {"replica", "receiver"})
        site.start(["watch-1"])
        port = int(service.receivers["monitoring-centre"].url.rsplit(":", 1)[1].strip("/"))
        await service.receivers["monitoring-centre"].start(port=port)
        await site.ready(["watch-1"])
        await service.until(lambda: circuits_closed(service), "the receiver is back")

        await asyncio.to_thread(service.broker.kill)
        found += asked(await scraper.times(8), {"broker"})
        await asyncio.to_thread(service.broker.start)
        await site.ready(ROLES)

        await asyncio.to_thread(service.redis.kill)
        # Without the store nothing is folded either.
        found += asked(await scraper.times(14), {"replica", "store"})
        await asyncio.to_thread(service.redis.start)
        await site.ready(ROLES)
        found += asked(await scraper.times(30), set())
        scraping.cancel()
    document = {
        "rule_files": ["afstand.rules.yml"],
        "evaluation_interval": f"{SCRAPE_S}s",
        "tests": [
            {"interval": f"{SCRAPE_S}s", "input_series": scraper.input_series(),
             "promql_expr_test": found}
        ],
    }  # fmt: skip
    shutil.copy(PROMETHEUS / "afstand.rules.yml", tmp_path)
    (tmp_path / "scraped.json").write_text(json.dumps(document))
    done = run("test", "rules", tmp_path / "scraped.json")
    assert done.returncode == 0, done.stdout + done.stderr


async def circuits_closed(service: Service) -> bool:
    said = await service.site.metrics("notify")
    lines = [line for line in said.splitlines() if line.startswith("afstand_notify_circuit_state{")]
    return bool(lines) and all(line.endswith(" 0.0") for line in lines)
