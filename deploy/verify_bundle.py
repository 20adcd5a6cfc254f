#!/usr/bin/env python3
"""Checks an evidence bundle. Needs Python 3.9 or newer and `cryptography`, nothing of Afstand.

usage: verify_bundle.py FOLDER [PUBLIC KEY from another source, 64 hexadecimal digits]

1. The manifest is signed and names every file.  2. Both hash chains hold through the period:
nothing was changed, left out, added or moved.  3. What is shown was chained so, to the byte.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xCA + k: ">" + code for k, code in enumerate("fdBHIQbhiq")}
KINDS = ((0xC4, "bytes", 1, 3), (0xD9, "text", 1, 3), (0xDC, "list", 2, 2), (0xDE, "map", 2, 2))
LONG = {first + k: (kind, size << k) for first, kind, size, n in KINDS for k in range(n)}


def sha(data):
    return hashlib.sha256(data).digest()


def unpack(b, i=0):
    """One MessagePack value of `b` and where the next begins; bytes become hexadecimal."""
    c, i = b[i], i + 1
    if c < 0x80 or c >= 0xE0:
        return (c if c < 0x80 else c - 256), i
    if c in FIXED:
        return FIXED[c], i
    if c in NUMBERS:
        return struct.unpack_from(NUMBERS[c], b, i)[0], i + struct.calcsize(NUMBERS[c])
    kind, n = ("map" if c < 0x90 else "list" if c < 0xA0 else "text"), c & (31 if c >= 0xA0 else 15)
    if c >= 0xC0:
        kind, size = LONG[c]
        n, i = int.from_bytes(b[i : i + size], "big"), i + size
    if kind in ("text", "bytes"):
        return (b[i : i + n].decode() if kind == "text" else b[i : i + n].hex()), i + n
    found = []
    for _ in range(2 * n if kind == "map" else n):
        value, i = unpack(b, i)
        found.append(value)
    return (dict(zip(found[::2], found[1::2])) if kind == "map" else found), i


def digest_of(line, shown):
    """The digest of one entry, from the parts that are shown and the hashes of the others."""
    if "digest" in line:
        return bytes.fromhex(line["digest"])
    leaves = [bytes.fromhex(leaf or "") for leaf in line["leaves"]]
    for place, said in line["parts"].items():
        part = shown[line["id"], int(place)] = bytes.fromhex(said["part"])
        leaves[int(place)] = sha(bytes.fromhex(said["salt"]) + part)
    kind = line["kind"].encode()
    return sha(bytes([len(kind)]) + kind + struct.pack("<I", len(leaves)) + b"".join(leaves))


def check(folder, trusted):
    raw, signature = [(folder / f"manifest.{end}").read_bytes() for end in ("json", "sig")]
    manifest = json.loads(raw)
    if trusted not in ("", manifest["public_key"]):
        yield "manifest.json: signed with another key than the one you trust"
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["public_key"])).verify(signature, raw)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(files ^ {*manifest["files"], "manifest.json", "manifest.sig"}):
        yield f"{name}: {'is not in the manifest' if name in files else 'is missing'}"
    for name, digest in manifest["files"].items():
        if name in files and sha((folder / name).read_bytes()).hex() != digest:
            yield f"{name}: is not the file that was signed"
    for stream, said in manifest["chains"].items():
        head, shown = bytes.fromhex(said["previous"]), {}
        for line in map(json.loads, (folder / said["proof"]).read_text().splitlines()):
            at = struct.pack("<QQ", *map(int, line["id"].split("-")))
            if sha(head + at + digest_of(line, shown)).hex() != line["hash"]:
                yield f"{said['proof']}: {stream} entry {line['id']} does not follow the one before"
            head = bytes.fromhex(line["hash"])
        if head.hex() != said["head"]:
            yield f"{said['proof']}: does not end with the entry that the manifest names"
        for name in said["shows"]:
            for line in map(json.loads, (folder / name).read_text().splitlines()):
                part = shown.get((line["entry"], line["place"]), b"\xc0")
                if (part[24:].hex() if "frame" in line else unpack(part)[0]) != line["said"]:
                    yield f"{name}: entry {line['entry']} part {line['place']} was not chained so"


if __name__ == "__main__":
    faults = []
    try:
        faults.extend(check(Path(sys.argv[1]), "".join(sys.argv[2:3]).lower()))
    except InvalidSignature:
        faults.append("manifest.json: it, or manifest.sig, is not what was signed")
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        faults.append(f"manifest.json: it, or a file it names, cannot be read: {error!r}")
    print("\n".join(faults or ["good: signed, whole, chained, and shown as it was chained"]))
    sys.exit(bool(faults))
