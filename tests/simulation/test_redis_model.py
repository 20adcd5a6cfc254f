"""The simulated store against a real server: the same commands, the same answers."""

import random

import pytest
import redis.exceptions

from ingest.readers import _REGISTER
from ingest.registry import _PUT, _PUT_KEYS
from ingest.store import connect_store
from tests.conftest import run_seed
from tests.servers import RedisServer
from tests.simulation.redis_model import RedisModel, ReplyError

pytestmark = pytest.mark.servers
COMMANDS = 1_500


def draw_command(draw: random.Random, ids: list[bytes], number: int) -> tuple:
    """A command as the service sends it, about few keys, so that they meet."""
    key = draw.choice(("journal:{p}", "outbox:{p}"))
    some = draw.choice(ids) if ids and draw.random() < 0.8 else b"5-1"
    group, consumer = draw.choice("gh"), draw.choice("xy")
    count = draw.randrange(1, 5)
    explicit = f"{1 + number // 3 + draw.randrange(30)}-{draw.randrange(3)}"
    return draw.choice(
        (
            ("XADD", key, explicit, b"v", b"1", b"b", draw.randbytes(3)),
            ("XADD", key, explicit, b"v", b"1", b"b", b""),
            ("XREAD", "COUNT", count, "STREAMS", key, some),
            ("XREAD", "COUNT", count, "BLOCK", 1, "STREAMS", key, some),
            ("XINFO", "STREAM", key),
            ("XLEN", key),
            ("XRANGE", key, "-", "+", "COUNT", 1),
            ("XRANGE", key, b"(" + some, "+", "COUNT", count),
            ("XREVRANGE", key, some, "-", "COUNT", 1),
            ("XGROUP", "CREATE", key, group, "0", "MKSTREAM"),
            ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", key, ">"),
            ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", key, some),
            ("XACK", key, group, some, b"5-1"),
            ("XAUTOCLAIM", key, group, consumer, 0, "0-0", "COUNT", 500),
            ("GET", "{registry}:version"),
            ("HGETALL", "readers:{p}"),
            ("HSET", "trimmed:{p}", "journal", explicit),
            ("HGET", "trimmed:{p}", "journal"),
            ("EVAL", _PUT, len(_PUT_KEYS), *_PUT_KEYS, explicit[0], b"record", "d2", explicit),
            ("ZRANGEBYSCORE", "{registry}:changes", f"({draw.randrange(6)}", "+inf"),
            ("HMGET", "{registry}:devices", "d2", "nothing", explicit[0]),
            ("HDEL", "readers:{p}", consumer),
        )
    )


def of_model(model: RedisModel, args: tuple):
    """Its answer; None and nothing are the same to every reader here."""
    try:
        return model.run(args, 0) or None
    except ReplyError as error:
        return f"error {str(error).split(' ')[0]}"
    except KeyError:
        return "error NOGROUP"


async def of_server(store, args: tuple):
    """Its answer, as far as anybody looks at it."""
    try:
        answer = await store.execute_command(*args)
    except redis.exceptions.ResponseError as error:
        return f"error {str(error).removeprefix('ERR ').split(' ')[0]}"
    return answer or None


def comparable(args: tuple, answer):
    """What the service reads of an answer."""
    if isinstance(answer, str) or answer is None:
        return answer
    if args[:2] == ("XINFO", "STREAM"):
        return dict(zip(answer[::2], answer[1::2], strict=True))[b"last-generated-id"]
    if args[0] == "XAUTOCLAIM":
        return [(entry_id, fields) for entry_id, fields in answer[1]]
    if args[0] in {"XREAD", "XREADGROUP"}:
        return [(name, [(i, fields or None) for i, fields in found]) for name, found in answer]
    if args[0] == "XGROUP":
        return bool(answer)
    return answer


@pytest.mark.slow
async def test_model_and_server_give_the_same_answers(tmp_path):
    draw = random.Random(run_seed())
    model, refused = RedisModel(), 0
    ids: list[bytes] = []
    with RedisServer(tmp_path) as server:
        store = connect_store(server.url)
        try:
            for number in range(COMMANDS):
                args = draw_command(draw, ids, number)
                theirs = comparable(args, await of_server(store, args))
                mine = comparable(args, of_model(model, args))
                assert mine == theirs, f"seed {run_seed()}, command {number}: {args}"
                if args[0] == "XADD" and isinstance(mine, bytes):
                    ids.append(mine)
                refused += isinstance(mine, str)
        finally:
            await store.aclose()
    assert len(ids) > 20
    assert refused > 20


async def test_a_reader_registers_with_the_stores_time(tmp_path):
    model = RedisModel()
    args = ("EVAL", _REGISTER, 1, "readers:{p}", "watch-0", "1 5-0 5-0")
    with RedisServer(tmp_path) as server:
        store = connect_store(server.url)
        try:
            assert model.run(args, 1234) == await store.execute_command(*args) == 1
            assert model.run(args, 1234) == await store.execute_command(*args) == 0
            theirs = await store.execute_command("HGETALL", "readers:{p}")
        finally:
            await store.aclose()
    mine = model.run(("HGETALL", "readers:{p}"), 0)
    assert mine == {b"watch-0": b"1 5-0 5-0 1234"}
    assert theirs.keys() == mine.keys()
    assert theirs[b"watch-0"].split(b" ")[:3] == mine[b"watch-0"].split(b" ")[:3]
