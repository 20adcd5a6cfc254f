"""`python -m simulators COMMAND`: devices on a real broker.

`follow` plays a recorded track. `device` is the simulated device and `bridge` a firmware on a
serial line, a socket or a pty, both with a rig for `afstand conform`.
"""

import argparse
import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from afstand.limits import SIM_RING_FRAMES_MAX
from firmware_contracts import valid_device_id
from simulators.bench_device import BenchDevice
from simulators.bridge import Bridge, SimulatedLine, Spoken, open_program, open_tcp, open_tty
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.fleet import Fleet
from simulators.happenings import DeviceSpec
from simulators.host_device import HostDeviceError
from simulators.phone import play
from simulators.playback import device_on_track, owntracks_messages
from simulators.rig import serve_rig
from simulators.ring import Pace
from simulators.tracks import Track, TrackError, read_csv, read_gpx

START_AFTER_MS: Final = 1_000
POLL_S: Final = 0.1
KEY: Final = re.compile(r"[0-9a-fA-F]{32}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    follow = commands.add_parser("follow", help="follow a recorded GPX or CSV track")
    follow.add_argument("track", type=Path, help="a .gpx or .csv file")
    follow.add_argument("--trip", help="CSV: COLUMN=VALUE, the rows that are one track")
    follow.add_argument("--device", required=True, help="device id; for OwnTracks USER/DEVICE")
    follow.add_argument("--key-file", type=Path, help="file with the key, 32 hexadecimal digits")
    follow.add_argument("--host", default="127.0.0.1")
    follow.add_argument("--port", type=int, default=1883)
    follow.add_argument("--mqtt", choices=("5", "3.1.1"), default="5")
    follow.add_argument("--speed", type=float, default=1.0, help="so many times as fast")
    follow.add_argument("--accuracy", type=float, default=5.0, help="reported 68 %% radius in m")
    follow.add_argument("--drain", type=float, default=15.0, help="wait so many s for the last ack")
    for name, text in (
        ("device", "the simulated device, with a rig"),
        ("bridge", "a firmware that speaks the line protocol, with a rig"),
    ):
        bench = commands.add_parser(name, help=text)
        bench.add_argument("--device", required=True, help="device id")
        bench.add_argument("--host", default="127.0.0.1")
        bench.add_argument("--port", type=int, default=1883)
        bench.add_argument("--mqtt", choices=("5", "3.1.1"), default="5")
        bench.add_argument("--rig", type=int, default=0, metavar="PORT", help="of the rig (any)")
        bench.add_argument("--speed", type=float, default=1.0, help="of the device's own counter")
        if name == "device":
            bench.add_argument("--key-file", type=Path, help="file with the key, 32 hex digits")
            bench.add_argument("--memory", type=int, default=SIM_RING_FRAMES_MAX, metavar="FRAMES")
        else:
            where = bench.add_mutually_exclusive_group(required=True)
            where.add_argument("--tty", type=Path, help="a serial line or pty")
            where.add_argument("--tcp", metavar="HOST:PORT", help="a socket")
            where.add_argument(
                "--program", nargs=argparse.REMAINDER, help="a program and its arguments, on a pty"
            )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when everything was taken, 1 when not, 2 for what cannot be run."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "bridge":  # the key is the firmware's own
            return asyncio.run(_bench(options, b""))
        if options.command == "device":
            return asyncio.run(_bench(options, _key(options)))
        track = _read(options.track, options.trip)
        if "/" in options.device:
            return asyncio.run(_phone(track, options))
        return asyncio.run(_device(track, options, _key(options)))
    except (TrackError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (HostDeviceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _read(path: Path, trip: str | None) -> Track:
    if path.suffix.lower() == ".gpx":
        return read_gpx(path)
    column, _, value = (trip or "").partition("=")
    tracks = read_csv(path, group_by=column or None)
    if value not in tracks:
        known = ", ".join(list(tracks)[:8])
        raise ValueError(f"{path}: no trip {value!r} in column {column!r}; there are {known} ...")
    return tracks[value]


def _key(options: argparse.Namespace) -> bytes:
    if not valid_device_id(options.device):
        raise ValueError(f"not a device id: {options.device!r}")
    if options.key_file is None:
        raise ValueError("a device needs --key-file (a phone is named USER/DEVICE and has none)")
    try:
        text = options.key_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{options.key_file}: {error}") from None
    if not KEY.fullmatch(text):
        raise ValueError(f"{options.key_file}: a key is 32 hexadecimal digits")
    return bytes.fromhex(text)


async def _bench(options: argparse.Namespace, key: bytes) -> int:
    """Run a device and its rig until the program is told to end."""
    bridge = Bridge(
        options.device,
        await _spoken(options, key),
        Broker(options.host, options.port, options.mqtt),
        speed=options.speed,
    )
    server = await serve_rig(bridge, "127.0.0.1", options.rig)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, bridge.stop)
    sys.stdout.write(f"rig on 127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    try:
        await bridge.run()
    finally:
        server.close()
    return 0


async def _spoken(options: argparse.Namespace, key: bytes) -> Spoken:
    if options.command == "device":
        now_ms = RealClock().now_ms()
        spec = DeviceSpec(
            device_id=options.device,
            key=key,
            first_boot=now_ms // 1000 % 2**31,  # larger at every start, as a flash would have it
            pace=Pace().faster(options.speed),
            ring_frames_max=options.memory,
        )
        return SimulatedLine(BenchDevice(spec, now_ms))
    if options.tty is not None:
        return await open_tty(options.tty)
    if options.tcp is not None:
        host, _, port = options.tcp.rpartition(":")
        return await open_tcp(host, int(port))
    if not options.program:
        raise ValueError("--program needs a program")
    return await open_program(options.program)


async def _device(track: Track, options: argparse.Namespace, key: bytes) -> int:
    clock = RealClock()
    start_ms = clock.now_ms() + START_AFTER_MS
    carrier, cues = device_on_track(
        track, options.device, options.device, key,
        start_ms=start_ms, speed=options.speed, accuracy_m=options.accuracy,
    )  # fmt: skip
    broker = Broker(options.host, options.port, options.mqtt)
    fleet = Fleet({options.device: carrier}, cues, broker, clock)
    running = asyncio.create_task(fleet.run())
    end_ms = cues[-1].at_ms + round(options.drain * 1000.0)
    while not running.done() and clock.now_ms() < end_ms:
        if len(fleet.log) == len(cues) and not fleet.counts.stored_frames:
            break
        await asyncio.sleep(POLL_S)
    fleet.stop()
    await running
    waiting = fleet.counts.stored_frames
    sys.stdout.write(
        f"{track.name}: {len(cues)} fixes, {fleet.counts.published} frames published, "
        f"{waiting} not acknowledged\n"
    )
    return 1 if waiting else 0


async def _phone(track: Track, options: argparse.Namespace) -> int:
    user, _, device = options.device.partition("/")
    clock = RealClock()
    played = track.rebased(clock.now_ms() + START_AFTER_MS, options.speed)
    messages = owntracks_messages(played, user, device, accuracy_m=options.accuracy)
    broker = Broker(options.host, options.port, options.mqtt)
    count = await play(messages, broker, clock, client_id=f"{user}-{device}")
    sys.stdout.write(f"{track.name}: {count} messages published\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
