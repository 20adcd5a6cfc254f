"""The demo's broker keeps messages as the shipped one does."""

from pathlib import Path

from afstand.embedded import _mosquitto_config
from tests.test_house import ROOT

OF_THE_DEMO = {"listener", "allow_anonymous", "persistence_location", "user"}


def settings_of(text: str) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {line[0]: line[1] for line in lines if line and not line[0].startswith("#")}


def test_the_embedded_broker_loses_and_saves_as_the_shipped_one(tmp_path: Path) -> None:
    shipped = settings_of((ROOT / "deploy/mosquitto/mosquitto.conf").read_text())
    embedded = settings_of(_mosquitto_config(1883, tmp_path))
    ours = {key: value for key, value in embedded.items() if key not in OF_THE_DEMO}
    assert ours == {key: shipped.get(key) for key in ours}
    assert {"persistence", "autosave_interval", "max_queued_messages"} <= ours.keys()
