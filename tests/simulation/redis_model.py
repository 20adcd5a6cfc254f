"""The commands of Redis that the service uses, as a state machine: streams, groups, hashes.

`tests/simulation/test_redis_model.py` asks it and a real server the same and compares. What it
does not know raises: a command that is new to the service has to be put here.
"""

import bisect
from typing import Any, Final

from ingest import readers, registry

WRITES: Final = frozenset(
    {"XADD", "XTRIM", "XGROUP", "XREADGROUP", "XAUTOCLAIM", "XACK", "EVAL", "HSET", "HDEL"}
)
SMALLER: Final = "The ID specified in XADD is equal or smaller than the target stream top item"
Id = tuple[int, int]


class ReplyError(Exception):
    """An error answer, without the leading ERR."""


class Group:
    """A consumer group: up to where it was given entries, and which are not acknowledged."""

    def __init__(self, last: Id) -> None:
        self.last = last
        self.pending: dict[Id, tuple[str, int]] = {}  # consumer, and when it was given


class Stream:
    """Entries by id."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.fields: dict[Id, dict[bytes, bytes]] = {}
        self.last: Id = (0, 0)
        self.groups: dict[str, Group] = {}

    def add(self, entry_id: Id, fields: dict[bytes, bytes]) -> None:
        """Append; the id is greater than every other."""
        self.ids.append(entry_id)
        self.fields[entry_id] = fields
        self.last = entry_id

    def after(self, entry_id: Id, count: int) -> list[Id]:
        """Give the ids behind one."""
        at = bisect.bisect_right(self.ids, entry_id)
        return self.ids[at : at + count]

    def drop(self, entries: int) -> None:
        """Remove the oldest."""
        for entry_id in self.ids[:entries]:
            del self.fields[entry_id]
        del self.ids[:entries]


def parse_id(text: str) -> Id:
    """Read `ms-seq` or `ms`."""
    ms, _, seq = text.partition("-")
    return int(ms), int(seq or 0)


def show_id(entry_id: Id) -> bytes:
    """Write an id."""
    return b"%d-%d" % entry_id


def text(value: Any) -> str:
    """An argument as text."""
    if type(value) is str:
        return value
    return value.decode() if isinstance(value, bytes) else str(value)


def raw(value: Any) -> bytes:
    """An argument as bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


class RedisModel:
    """The data, and what commands do to it. The time is passed in."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.sorted: dict[str, dict[bytes, float]] = {}
        self.texts: dict[str, bytes] = {}

    def run(self, args: tuple[Any, ...], now_ms: int) -> Any:
        """Do a command and give its answer, shaped as the client library gives it.

        Raises ReplyError, with nothing changed. A blocking read that finds nothing gives None.
        """
        name = text(args[0])
        return getattr(self, f"_{name.lower()}")(args[1:], now_ms)

    # --- streams ----------------------------------------------------------------------------------

    def _xadd(self, args: tuple[Any, ...], now_ms: int) -> bytes:
        key, at, limit = text(args[0]), 1, None
        if text(args[1]) == "MAXLEN":
            limit, at = int(args[3]), 4
        wanted, pairs = text(args[at]), args[at + 1 :]
        stream = self.streams.get(key) or Stream()
        if wanted == "*":
            ms, seq = stream.last
            entry_id = (now_ms, 0) if now_ms > ms else (ms, seq + 1)
        else:
            entry_id = parse_id(wanted)
            if entry_id <= stream.last:
                raise ReplyError(SMALLER)
        self.streams[key] = stream
        stream.add(entry_id, {raw(k): raw(v) for k, v in zip(pairs[::2], pairs[1::2], strict=True)})
        if limit is not None and len(stream.ids) > limit:
            stream.drop(len(stream.ids) - limit)
        return show_id(entry_id)

    def _xread(self, args: tuple[Any, ...], now_ms: int) -> Any:
        count, _, rest = _options(args)
        key, after = rest
        return self._answer(key, self._stream(key).after(parse_id(after), count))

    def _xreadgroup(self, args: tuple[Any, ...], now_ms: int) -> Any:
        name, consumer = text(args[1]), text(args[2])
        count, _, (key, start) = _options(args[3:])
        stream = self.streams.get(key)
        group = stream.groups.get(name) if stream else None
        if stream is None or group is None:
            raise ReplyError(f"NOGROUP No such key '{key}' or consumer group '{name}'")
        if start == ">":
            ids = stream.after(group.last, count)
            for entry_id in ids:
                group.last = entry_id
                group.pending[entry_id] = (consumer, now_ms)
            return self._answer(key, ids)
        own = [i for i, (who, _) in group.pending.items() if who == consumer]
        return self._answer(key, sorted(i for i in own if i > parse_id(start))[:count], own=True)

    def _xautoclaim(self, args: tuple[Any, ...], now_ms: int) -> Any:
        key, name, consumer, idle_ms, start = text(args[0]), *map(text, args[1:5])
        count = int(args[6])
        stream = self._stream(key)
        group = stream.groups[name]
        found = [
            i
            for i, (_, at) in sorted(group.pending.items())
            if i >= parse_id(start) and now_ms - at >= int(idle_ms)
        ][:count]
        claimed = []
        for entry_id in found:
            if entry_id in stream.fields:
                group.pending[entry_id] = (consumer, now_ms)
                claimed.append((show_id(entry_id), stream.fields[entry_id]))
            else:
                del group.pending[entry_id]
        return [b"0-0", claimed]

    def _xack(self, args: tuple[Any, ...], now_ms: int) -> int:
        group = self._stream(text(args[0])).groups.get(text(args[1]))
        ids = [parse_id(text(one)) for one in args[2:]]
        return sum(group.pending.pop(i, None) is not None for i in ids) if group else 0

    def _xgroup(self, args: tuple[Any, ...], now_ms: int) -> bytes:
        _, key, name, start = map(text, args[:4])
        stream = self.streams.setdefault(key, Stream())
        if name in stream.groups:
            raise ReplyError("BUSYGROUP Consumer Group name already exists")
        stream.groups[name] = Group(parse_id(start))
        return b"OK"

    def _xinfo(self, args: tuple[Any, ...], now_ms: int) -> Any:
        what, key = map(text, args)
        stream = self.streams.get(key)
        if stream is None:
            raise ReplyError("no such key")
        if what == "STREAM":
            return [b"last-generated-id", show_id(stream.last)]
        return [
            [b"name", name.encode(), b"pending", len(group.pending),
             b"last-delivered-id", show_id(group.last)]
            for name, group in stream.groups.items()
        ]  # fmt: skip

    def _xrange(self, args: tuple[Any, ...], now_ms: int) -> Any:
        key, start, end, _, count = map(text, args)
        assert end == "+", end
        stream = self._stream(key)
        first = (-1, 0) if start == "-" else parse_id(start.removeprefix("("))
        assert start[0] in "-(", start
        return [(show_id(i), stream.fields[i]) for i in stream.after(first, int(count))]

    def _xrevrange(self, args: tuple[Any, ...], now_ms: int) -> Any:
        key, start, end, _, count = map(text, args)
        assert (end, count) == ("-", "1"), args
        stream = self._stream(key)
        at = bisect.bisect_right(stream.ids, parse_id(start))
        return [(show_id(i), stream.fields[i]) for i in stream.ids[max(0, at - 1) : at]]

    def _xlen(self, args: tuple[Any, ...], now_ms: int) -> int:
        return len(self._stream(text(args[0])).ids)

    def _stream(self, key: str) -> Stream:
        return self.streams.get(key) or Stream()

    def _answer(self, key: str, ids: list[Id], *, own: bool = False) -> Any:
        if not ids and not own:
            return None
        fields = self._stream(key).fields
        return [[key.encode(), [(show_id(i), fields.get(i)) for i in ids]]]

    # --- the rest ---------------------------------------------------------------------------------

    def _get(self, args: tuple[Any, ...], now_ms: int) -> bytes | None:
        return self.texts.get(text(args[0]))

    def _hscan(self, args: tuple[Any, ...], now_ms: int) -> Any:
        return 0, dict(self.hashes.get(text(args[0]), {}))

    def _hmget(self, args: tuple[Any, ...], now_ms: int) -> Any:
        found = self.hashes.get(text(args[0]), {})
        return [found.get(raw(field)) for field in args[1:]]

    def _hget(self, args: tuple[Any, ...], now_ms: int) -> bytes | None:
        return self.hashes.get(text(args[0]), {}).get(raw(args[1]))

    def _hgetall(self, args: tuple[Any, ...], now_ms: int) -> Any:
        return dict(self.hashes.get(text(args[0]), {}))

    def _hset(self, args: tuple[Any, ...], now_ms: int) -> int:
        found = self.hashes.setdefault(text(args[0]), {})
        new = raw(args[1]) not in found
        found[raw(args[1])] = raw(args[2])
        return int(new)

    def _hdel(self, args: tuple[Any, ...], now_ms: int) -> int:
        return int(self.hashes.get(text(args[0]), {}).pop(raw(args[1]), None) is not None)

    def _zrangebyscore(self, args: tuple[Any, ...], now_ms: int) -> Any:
        low = float(text(args[1]).removeprefix("("))
        found = self.sorted.get(text(args[0]), {}).items()
        return [m for score, m in sorted((score, m) for m, score in found) if score > low]

    def _eval(self, args: tuple[Any, ...], now_ms: int) -> Any:
        script, keys_n = args[0], int(args[1])
        keys, values = [text(key) for key in args[2 : 2 + keys_n]], args[2 + keys_n :]
        if script == registry._PUT:
            return self._put_devices(keys, values)
        if script == readers._REGISTER:
            value = f"{text(values[1])} {now_ms}"
            return self._hset((keys[0], values[0], value), now_ms)
        raise NotImplementedError(f"a script that is not modelled: {script[:80]}")

    def _put_devices(self, keys: list[str], values: tuple[Any, ...]) -> list[int]:
        devices, handles, changes, version_key, next_key = keys
        version = int(self.texts.get(version_key, b"0")) + 1
        self.texts[version_key] = b"%d" % version
        given = []
        for device, record in zip(values[::2], values[1::2], strict=True):
            known = self.hashes.setdefault(handles, {})
            if raw(device) not in known:
                number = int(self.texts.get(next_key, b"0")) + 1
                self.texts[next_key] = known[raw(device)] = b"%d" % number
            self.hashes.setdefault(devices, {})[raw(device)] = raw(record)
            self.sorted.setdefault(changes, {})[raw(device)] = version
            given.append(int(known[raw(device)]))
        return given


def _options(args: tuple[Any, ...]) -> tuple[int, int | None, tuple[str, str]]:
    """Count, how long to block in ms, and (key, id)."""
    count, block_ms, at = 1 << 30, None, 0
    while (word := text(args[at])) != "STREAMS":
        if word == "COUNT":
            count = int(args[at + 1])
        else:
            assert word == "BLOCK", word
            block_ms = int(args[at + 1])
        at += 2
    key, start = args[at + 1 :]
    return count, block_ms, (text(key), text(start))


def blocks_ms(args: tuple[Any, ...]) -> int | None:
    """How long a command is willing to wait."""
    name = text(args[0])
    if name == "XREAD":
        return _options(args[1:])[1]
    if name == "XREADGROUP" and text(args[-1]) == ">":
        return _options(args[4:])[1]
    return None
