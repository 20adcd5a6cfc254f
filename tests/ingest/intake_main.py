"""An intake as a process of its own, for tests that kill it.

`python -m tests.ingest.intake_main PORT URL KEY CLIENT_ID`.
"""

import asyncio
import signal
import sys

from prometheus_client import CollectorRegistry

from ingest.intake import IntakeSettings, new_health, run_intake
from ingest.mqtt import MqttSettings
from ingest.registry import KeyBox
from ingest.store import connect_store


async def main() -> None:
    """Run until SIGTERM."""
    port, url, key, client_id = sys.argv[1:]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = connect_store(url)
    settings = IntakeSettings(
        mqtt=MqttSettings(port=int(port), client_id=client_id), store_url=url, ack_interval_ms=200
    )
    await run_intake(
        settings,
        store=store,
        box=KeyBox(bytes.fromhex(key)),
        metrics=CollectorRegistry(),
        stop=stop,
        health=new_health(),
    )
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main())
