"""A load as a file or as options: so many devices, phases of reporting, presses in between.

JSON, `"format": "afstand.load/1"`. The same scenario and seed are the same frames, but for the
time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from afstand.limits import (
    FRAME_RECORDS_MAX,
    LOAD_CONNECTIONS_MAX,
    LOAD_DEVICES_MAX,
    LOAD_MESSAGES_MAX,
    SIM_SCENARIO_BYTES_MAX,
)
from simulators.geo import LocalPlane
from simulators.load_plan import LoadDevice, LoadPlan, plan_load
from simulators.seeds import device_key, stream

FORMAT: Final = "afstand.load/1"
SPREAD_M: Final = 8_000.0
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class LoadScenarioError(ValueError):
    """A scenario that cannot be run; the message says why."""


class LoadPhase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For `for_s` seconds every device sends a frame each `interval_s` seconds."""

    for_s: Positive
    interval_s: Positive
    panics_per_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class LoadScenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that says what is sent."""

    format: str = FORMAT
    seed: int = 0
    devices: Annotated[int, msgspec.Meta(ge=1, le=LOAD_DEVICES_MAX)] = 1_000
    connections: Annotated[int, msgspec.Meta(ge=1, le=LOAD_CONNECTIONS_MAX)] | None = None
    """None: one per device, up to 1,000."""
    fixes_per_frame: Annotated[int, msgspec.Meta(ge=1, le=FRAME_RECORDS_MAX)] = 1
    centre: tuple[float, float] = (51.92, 4.48)
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "load"
    phases: tuple[LoadPhase, ...] = (LoadPhase(60.0, 10.0),)

    @property
    def connection_count(self) -> int:
        """How many connections carry the devices."""
        wanted = self.connections or min(self.devices, 1_000)
        return min(wanted, self.devices)

    @property
    def for_s(self) -> float:
        """How long it takes."""
        return sum(phase.for_s for phase in self.phases)

    def messages(self, phase: LoadPhase) -> int:
        """How many messages a phase has, about."""
        return int(phase.for_s * (self.devices / phase.interval_s + phase.panics_per_s))


def read_scenario(path: Path) -> LoadScenario:
    """Read a scenario file. Raises LoadScenarioError that names the file and the field."""
    try:
        with path.open("rb") as file:
            raw = file.read(SIM_SCENARIO_BYTES_MAX + 1)
        if len(raw) > SIM_SCENARIO_BYTES_MAX:
            raise LoadScenarioError(f"{path}: more than {SIM_SCENARIO_BYTES_MAX} bytes")
        scenario = msgspec.json.decode(raw, type=LoadScenario)
    except OSError as error:
        raise LoadScenarioError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadScenarioError(f"{path}: {error}") from None
    if scenario.format != FORMAT:
        raise LoadScenarioError(f"{path}: format {scenario.format!r}, not {FORMAT!r}")
    return checked(scenario)


def checked(scenario: LoadScenario) -> LoadScenario:
    """Return a scenario that can be run. Raises LoadScenarioError."""
    if not scenario.phases:
        raise LoadScenarioError("a load has at least one phase")
    most = max(scenario.messages(phase) for phase in scenario.phases)
    if most > LOAD_MESSAGES_MAX:
        raise LoadScenarioError(
            f"a phase of {most} messages, at most {LOAD_MESSAGES_MAX}: make it several phases"
        )
    return scenario


def load_devices(scenario: LoadScenario) -> list[LoadDevice]:
    """The devices of a scenario: id, key and place follow from its seed."""
    rng = stream(scenario.seed, "load-places")
    places = rng.uniform(-SPREAD_M, SPREAD_M, (scenario.devices, 2)).tolist()
    names = [f"{scenario.prefix}-{number:06d}" for number in range(scenario.devices)]
    return [
        LoadDevice(name, device_key(scenario.seed, name), x, y)
        for name, (x, y) in zip(names, places, strict=True)
    ]


def plan_phase(
    scenario: LoadScenario,
    devices: list[LoadDevice],
    number: int,
    *,
    start_ms: int,
    boot: int,
    first_sequence: int,
) -> LoadPlan:
    """Encode one phase; sequences go on from the phase before."""
    phase = scenario.phases[number]
    return plan_load(
        devices,
        LocalPlane(*scenario.centre),
        rate_per_s=scenario.devices / phase.interval_s,
        duration_s=phase.for_s,
        start_ms=start_ms,
        panic_per_s=phase.panics_per_s,
        fixes_per_frame=scenario.fixes_per_frame,
        boot=boot,
        first_sequence=first_sequence,
        seed=scenario.seed + number,
    )


def cases_of(devices: list[LoadDevice]) -> Iterator[bytes]:
    """The cases document that registers the devices with a service, in parts."""
    yield b'{"format": "afstand.cases/1", "persons": [], "devices": [\n'
    for number, device in enumerate(devices):
        entry = {"id": device.device_id, "role": "wearer", "key": device.key.hex()}
        yield (b",\n" if number else b"") + msgspec.json.encode(entry)
    yield b"\n]}\n"
