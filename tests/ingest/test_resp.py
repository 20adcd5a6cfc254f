"""The little RESP reader and the addresses, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.resp import Address, RespReader, encode_commands, parse_address
from ingest.store import StoreUnavailableError

lines = st.binary(max_size=20).filter(lambda raw: b"\r" not in raw and b"\n" not in raw)
answers = st.one_of(
    st.binary(max_size=60).map(lambda raw: (b"$%d\r\n%b\r\n" % (len(raw), raw), raw)),
    lines.map(lambda raw: (b"+%b\r\n" % raw, raw)),
    st.integers(-(2**63), 2**63).map(lambda n: (b":%d\r\n" % n, n)),
    lines.map(lambda raw: (b"-ERR %b\r\n" % raw, StoreUnavailableError)),
    st.just((b"$-1\r\n", None)),
)


@pytest.mark.slow
@given(st.lists(answers, max_size=10), st.data())
def test_answers_in_any_pieces(draws, data):
    stream = b"".join(raw for raw, _ in draws)
    reader, got, at = RespReader(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 50))
        got += reader.feed(stream[at : at + step])
        at += step
    assert len(got) == len(draws)
    for answer, (_, expected) in zip(got, draws, strict=True):
        if expected is StoreUnavailableError:
            assert isinstance(answer, StoreUnavailableError)
        else:
            assert answer == expected


@given(st.binary(max_size=100))
def test_noise_is_refused_or_waits(noise):
    try:
        RespReader().feed(noise)
    except ValueError:
        return


@pytest.mark.slow
@given(st.lists(st.lists(st.binary(max_size=20) | st.integers(), min_size=1, max_size=5)))
def test_commands_are_arrays_of_bulk_strings(commands):
    raw = encode_commands(commands)
    for command in commands:
        head, _, raw = raw.partition(b"\r\n")
        assert head == b"*%d" % len(command)
        for arg in command:
            size, _, raw = raw.partition(b"\r\n")
            value = arg if isinstance(arg, bytes) else str(arg).encode()
            assert size == b"$%d" % len(value)
            assert raw.startswith(value + b"\r\n")
            raw = raw[len(value) + 2 :]
    assert raw == b""


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", Address(host="localhost")),
        ("redis://127.0.0.1:7000/2", Address(host="127.0.0.1", port=7000, database=2)),
        ("rediss://h:1", Address(host="h", port=1, tls=True)),
        ("redis://:p%40ss@h", Address(host="h", password="p@ss")),
        ("redis://u:p@h", Address(host="h", username="u", password="p")),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
    ],
)
def test_addresses(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url", ["", "localhost", "redis://", "http://h", "redis://h/x", "redis://h?timeout=5"]
)
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match="store address"):
        parse_address(url)
