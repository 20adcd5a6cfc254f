"""Key generations: how a device and the server come to the same new key without sending it.

A device is made with a root key, which seals no frame. The key of a generation is the AES-CMAC
under the root key of the device's id, the generation and a nonce that the server draws (a key
derivation function in counter mode of one block, after NIST SP 800-108). A key that is known to
others is replaced by the next generation; whoever has the root key alone cannot make it without the
nonce.
"""

import re
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from firmware_contracts.codes import CommandCode
from firmware_contracts.frames import KEY_BYTES, Command
from firmware_contracts.topics import valid_device_id

NONCE_BYTES: Final = 16
GENERATION_MAX: Final = 0xFFFF_FFFF
_LABEL: Final = b"\x01afstand key\x00"
_KEY_BITS: Final = (128).to_bytes(2, "little")
_NONCE: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class KeyOrder(NamedTuple):
    """What a KEY command asks for."""

    generation: int
    nonce: bytes


def derive_key(root: bytes, device_id: str, generation: int, nonce: bytes) -> bytes:
    """Give the 16-byte key of a generation; ValueError for what cannot be one."""
    if len(root) != KEY_BYTES or len(nonce) != NONCE_BYTES or not valid_device_id(device_id):
        raise ValueError("a root key and a nonce have 16 bytes, and a device has an id")
    if not 1 <= generation <= GENERATION_MAX:
        raise ValueError(f"a generation is 1 to {GENERATION_MAX}, not {generation}")
    cmac = CMAC(AES(root))
    cmac.update(_LABEL)
    cmac.update(bytes([len(device_id)]) + device_id.encode("ascii"))
    cmac.update(generation.to_bytes(4, "little") + nonce + _KEY_BITS)
    return cmac.finalize()


def key_command_text(nonce: bytes) -> str:
    """Give the text of the KEY command of a nonce."""
    return nonce.hex()


def read_key_command(command: Command) -> KeyOrder | None:
    """Read a KEY command; None for another one, and for one that cannot be obeyed."""
    if command.code != CommandCode.KEY or command.arg1 < 1 or not _NONCE.fullmatch(command.text):
        return None
    return KeyOrder(command.arg1, bytes.fromhex(command.text))
