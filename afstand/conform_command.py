"""`afstand conform`: whether a device keeps the contract, sentence by sentence."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from afstand.conform import Broker, ByHand, ConformError, Hands, NoHands, conform, now_ms
from afstand.limits import CONFORM_LOG_BYTES_MAX
from firmware_contracts import valid_device_id
from firmware_contracts.conformance import (
    Examiner,
    LogError,
    Patience,
    Result,
    Stimulus,
    Verdict,
    judge,
    read,
    written,
)
from firmware_contracts.conformance.owntracks import PhoneReport, judge_owntracks, split_messages
from simulators.host_device import HostDevice, HostDeviceError
from simulators.lockstep import ABLE, Lockstep
from simulators.rig import RigClient, RigError

KEY_CHARACTERS: Final = 32
Settings = Callable[[], Awaitable[tuple[Broker, bytes]]]


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the command: 0 nothing fails, 1 a sentence fails or the test cannot be done.

    `settings` gives broker and key from the configuration.
    """
    try:
        if options.owntracks is not None:
            return _print_phone(_read_phone(options.owntracks), as_json=options.json)
        if options.judge is not None:
            key = _read_key(options.key_file)
            device_id, patience, items = read(_bytes_of(options.judge))
        else:
            device_id = _checked_id(options.device)
            patience = Patience().scaled(options.patience)
            key, items = asyncio.run(_tested(options, patience, settings))
    except (ConformError, LogError, RigError, HostDeviceError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.record is not None:
        options.record.write_bytes(written(device_id, patience, items))
    verdicts = judge(items, device_id, key, patience)
    start_ms = min((item.at_ms for item in items), default=0)
    return _print_verdicts(verdicts, device_id, start_ms, as_json=options.json)


def _checked_id(device_id: str) -> str:
    if not valid_device_id(device_id):
        raise ConformError(f"not a device id: {device_id!r}")
    return device_id


async def _tested(
    options: argparse.Namespace,
    patience: Patience,
    settings: Settings,
) -> tuple[bytes, list[Any]]:
    if options.program is not None:
        key = _read_key(options.key_file)
        return key, _lockstep(options, key, patience)
    if options.config is not None:
        broker, key = await settings()
        if options.key_file is not None:
            key = _read_key(options.key_file)
    else:
        broker, key = Broker("127.0.0.1", 1883, options.mqtt), _read_key(options.key_file)
    if options.broker is not None:
        host, port = _address(options.broker)
        broker = msgspec.structs.replace(broker, host=host, port=port)
    rig: RigClient | None = None
    hands: Hands = ByHand() if options.by_hand else NoHands()
    if options.rig is not None:
        hands = rig = await RigClient.connect(*_address(options.rig))
    examiner = _examiner(options, key, patience, hands.able)
    try:
        await conform(
            examiner,
            options.device,
            broker,
            hands,
            lambda text: print(text, file=sys.stderr, flush=True),
        )
    finally:
        if rig is not None:
            await rig.close()
    return key, examiner.items


def _examiner(
    options: argparse.Namespace, key: bytes, patience: Patience, able: frozenset[Stimulus]
) -> Examiner:
    return Examiner(
        options.device,
        key,
        patience=patience,
        able=able,
        memory_frames=options.memory,
        # Ids that no earlier test of today has used: a device remembers them.
        first_command_id=now_ms() // 100 % 2**30,
    )


def _lockstep(options: argparse.Namespace, key: bytes, patience: Patience) -> list[Any]:
    examiner = _examiner(options, key, patience, ABLE)
    slots = {"slots": options.memory} if options.memory else {}
    with HostDevice(options.program, options.device, key, **slots) as device:
        Lockstep(device, examiner, now_ms()).run()
    return examiner.items


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConformError(f"not HOST:PORT: {text!r}")
    return host.strip("[]"), int(port)


def _read_key(path: Path | None) -> bytes:
    if path is None:
        raise ConformError("the device's key is needed: --key-file, or --config with a registry")
    try:
        text = path.read_text("ascii").strip()
        if len(text) == KEY_CHARACTERS:
            return bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise ConformError(f"{path}: {error}") from None
    raise ConformError(f"{path}: a key is {KEY_CHARACTERS} hexadecimal digits")


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(CONFORM_LOG_BYTES_MAX + 1)
    except OSError as error:
        raise ConformError(f"{path}: {error}") from None
    if len(raw) > CONFORM_LOG_BYTES_MAX:
        raise ConformError(f"{path}: more than {CONFORM_LOG_BYTES_MAX} bytes")
    return raw


def _read_phone(path: Path) -> PhoneReport:
    return judge_owntracks(split_messages(_bytes_of(path)))


# --- what it prints -------------------------------------------------------------------------------


def _print_verdicts(
    verdicts: list[Verdict], device_id: str, start_ms: int, *, as_json: bool
) -> int:
    failing = [one for one in verdicts if one.result is Result.FAIL]
    if as_json:
        document = {
            "format": "afstand.verdicts/1",
            "device": device_id,
            "counts": _counts(verdicts),
            "verdicts": [msgspec.to_builtins(one) for one in verdicts],
        }
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print_table(verdicts, start_ms)
        print(f"\n{device_id}: {_counted(verdicts)}")
    return 1 if failing else 0


def _counts(verdicts: list[Verdict]) -> dict[str, int]:
    return {result.value: sum(one.result is result for one in verdicts) for result in Result}


def _counted(verdicts: list[Verdict]) -> str:
    return ", ".join(f"{count} {name}" for name, count in _counts(verdicts).items())


def _print_table(verdicts: list[Verdict], start_ms: int) -> None:
    for one in verdicts:
        shown = one.evidence
        why = "" if shown is None else f"{shown.why} ({shown.what})"
        print(f"{one.sentence}  {one.result.value:8}  {why}")
        if one.result is Result.FAIL and shown is not None:
            print(f"        {one.text}")
            at = f"{(shown.at_ms - start_ms) / 1000:.1f} s" if shown.at_ms else ""
            print(f"        {at} {shown.topic} {shown.payload}".rstrip())
            if one.failures > 1:
                print(f"        and {one.failures - 1} times more")


def _print_phone(report: PhoneReport, *, as_json: bool) -> int:
    if as_json:
        document = {"format": "afstand.verdicts/1"} | msgspec.to_builtins(report)
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print_table(report.verdicts, 0)
        reasons = ", ".join(f"{count} {why}" for why, count in report.ignored.items())
        print(
            f"\n{report.messages} messages: {report.fixes} fixes"
            f"{f', no fix: {reasons}' if reasons else ''}; {_counted(report.verdicts)}"
        )
    return 1 if any(one.result is Result.FAIL for one in report.verdicts) else 0
