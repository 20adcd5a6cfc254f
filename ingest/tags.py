"""The tags of many plain frames at once: AES-128-CMAC (RFC 4493) by the processor's own AES.

A tag takes five blocks of AES, which the processor does in a tenth of a microsecond; asked for one
by one, most of the time goes into asking. `Tagger` says what a tag is, a test holds the two
together, and where the processor has no such instructions, or the compiler may not use them, it is
`Tagger` that is asked. No table is looked up by what is secret, and the comparison takes the same
time whatever it finds.
"""

from __future__ import annotations

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from afstand.compile import jit
from firmware_contracts.codes import TAG_BYTES
from firmware_contracts.frames import Tagger
from firmware_contracts.topics import DEVICE_ID_CHARACTERS_MAX

Raw = npt.NDArray[np.uint8]
tools: Any = cgutils  # it carries no types

_BLOCK: Final = 16
_ROUNDS: Final = 10
_KEYS_BYTES: Final = (_ROUNDS + 1) * _BLOCK
_SUBKEY_AT: Final = _KEYS_BYTES  # K1 and K2 of RFC 4493
_PREFIX_AT: Final = _SUBKEY_AT + 2 * _BLOCK  # how long it is, then what stands before a frame
_SECRET_BYTES: Final = _PREFIX_AT + 2 + DEVICE_ID_CHARACTERS_MAX
_ROWS_FIRST: Final = 1_024


def has_instructions() -> bool:
    """Tell whether the compiler may use the processor's AES (x86-64 only)."""
    told: Any = config
    if told.DISABLE_JIT or told.CPU_NAME or told.CPU_FEATURES:
        return False  # told to compile for another processor than this one
    if not llvm.get_default_triple().startswith("x86_64"):
        return False
    return bool(llvm.get_host_cpu_features().get("aes"))


class Tags:
    """The keys of devices, a row each. Without `instructions` every frame is asked of `Tagger`."""

    def __init__(self, *, instructions: bool | None = None) -> None:
        self._instructions = has_instructions() if instructions is None else instructions
        self._secrets = np.zeros((_ROWS_FIRST, _SECRET_BYTES), np.uint8)
        self._taggers: list[Tagger] = []

    def add(self, device_id: str, key: bytes, tagger: Tagger) -> int:
        """Take a device in and return its row. `tagger` is of the same id and key."""
        row = len(self._taggers)
        self._taggers.append(tagger)
        if row == len(self._secrets):
            self._secrets = np.concatenate((self._secrets, np.zeros_like(self._secrets)))
        secret = self._secrets[row]
        if self._instructions:
            name = device_id.encode("ascii")
            prefix = bytes([1 + len(name), len(name)]) + name
            secret[_PREFIX_AT : _PREFIX_AT + len(prefix)] = np.frombuffer(prefix, np.uint8)
            _prepare(np.frombuffer(key, np.uint8), _SBOX, secret)
        return row

    def clear(self) -> None:
        """Forget every device."""
        self._taggers.clear()
        self._secrets[:] = 0

    def valid(self, rows: npt.NDArray[np.int64], frames: npt.NDArray[np.void]) -> Any:
        """Tell which frames end in their own tag; `rows` says of whom each is, -1 for nobody."""
        raw = frames.view(np.uint8).reshape(len(frames), frames.itemsize)
        found = np.zeros(len(frames), np.bool_)
        if self._instructions:
            _valid(self._secrets, rows, raw, found)
            return found
        for index, row in enumerate(rows.tolist()):
            found[index] = row >= 0 and self._taggers[row].valid(raw[index].tobytes())
        return found


def warm_up() -> None:
    """Compile the kernels."""
    tags = Tags()
    row = tags.add("a", bytes(16), Tagger("a", bytes(16)))
    tags.valid(np.array([row]), np.zeros(1, f"V{2 * TAG_BYTES}"))


def _sbox() -> Raw:
    """Return the S-box of AES (FIPS 197, 5.1.1): inverses in GF(2^8), then an affine map."""
    box = np.zeros(256, np.uint8)
    power = inverse = 1
    while True:
        power ^= (power << 1) & 0xFF ^ (0x1B if power & 0x80 else 0)  # times 3
        for shift in (1, 2, 4):  # divided by 3
            inverse ^= (inverse << shift) & 0xFF
        inverse ^= 0x09 if inverse & 0x80 else 0
        turned = inverse | inverse << 8
        mapped = inverse ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4
        box[power] = mapped & 0xFF ^ 0x63
        if power == 1:
            box[0] = 0x63
            return box


_SBOX: Final = _sbox()


def _encrypting(_: Any, keys: Any, row: Any, block: Any) -> Any:
    """Encrypt `block` in place with the round keys at the start of `keys[row]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(64), 2)
        there = context.make_array(signature.args[0])(context, builder, args[0])
        strides = tools.unpack_tuple(builder, there.strides)
        first = tools.pointer_add(builder, there.data, builder.mul(args[1], strides[0]))
        first = builder.bitcast(first, vector.as_pointer())
        data = context.make_array(signature.args[2])(context, builder, args[2]).data
        data = builder.bitcast(data, vector.as_pointer())

        def key(number: int) -> Any:
            found = builder.load(builder.gep(first, [ir.Constant(ir.IntType(32), number)]))
            found.align = 1
            return found

        def function(name: str) -> Any:
            kind = ir.FunctionType(vector, [vector, vector])
            return tools.get_or_insert_function(builder.module, kind, name)

        state = builder.load(data)
        state.align = 1
        state = builder.xor(state, key(0))
        for number in range(1, _ROUNDS):
            state = builder.call(function("llvm.x86.aesni.aesenc"), [state, key(number)])
        state = builder.call(function("llvm.x86.aesni.aesenclast"), [state, key(_ROUNDS)])
        builder.store(state, data).align = 1
        return context.get_dummy_value()

    return types.void(keys, row, block), generate


_aes: Any = intrinsic(_encrypting)


@jit
def _prepare(key: Raw, sbox: Raw, secret: Raw) -> None:
    """Expand a key (FIPS 197, 5.2) and derive the two subkeys (RFC 4493, 2.3)."""
    secret[:16] = key
    constant = 1
    for at in range(16, _KEYS_BYTES, 4):
        for k in range(4):
            byte = secret[at - 4 + k]
            if at % 16 == 0:
                byte = sbox[secret[at - 4 + (k + 1) % 4]]
                if k == 0:
                    byte ^= np.uint8(constant)
            secret[at + k] = secret[at - 16 + k] ^ byte
        if at % 16 == 0:
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
    block = np.zeros(16, np.uint8)
    _aes(secret.reshape(1, len(secret)), 0, block)
    for subkey in range(2):
        carry = 0x87 if block[0] & 0x80 else 0
        for k in range(15):
            block[k] = (int(block[k]) << 1 | int(block[k + 1]) >> 7) & 0xFF
        block[15] = (int(block[15]) << 1 & 0xFF) ^ carry
        secret[_SUBKEY_AT + 16 * subkey : _SUBKEY_AT + 16 * subkey + 16] = block


@jit
def _valid(
    secrets: Raw, rows: npt.NDArray[np.int64], frames: Raw, found: npt.NDArray[np.bool_]
) -> None:
    block = np.zeros(16, np.uint8)
    body = frames.shape[1] - TAG_BYTES
    for index in range(len(frames)):
        row = rows[index]
        if row < 0:
            continue
        prefix = int(secrets[row, _PREFIX_AT])
        total = prefix + body
        block[:] = 0
        filled = 0
        for at in range(total):
            if filled == 16:
                _aes(secrets, row, block)
                filled = 0
            if at < prefix:
                block[filled] ^= secrets[row, _PREFIX_AT + 1 + at]
            else:
                block[filled] ^= frames[index, at - prefix]
            filled += 1
        subkey = _SUBKEY_AT
        if filled < 16:
            block[filled] ^= np.uint8(0x80)
            subkey += 16
        for k in range(16):
            block[k] ^= secrets[row, subkey + k]
        _aes(secrets, row, block)
        differs = np.uint8(0)
        for k in range(TAG_BYTES):
            differs |= block[k] ^ frames[index, body + k]
        found[index] = differs == 0
