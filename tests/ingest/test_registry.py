"""The device registry on a real Redis."""

import asyncio
import base64

import pytest

from firmware_contracts.topics import parse_topic
from ingest.devices import Contract, DeviceRecord, RegistryError, Role, owntracks_id
from ingest.registry import MASTER_KEY_VARIABLE, KeyBox, Registry, read_master_key
from ingest.store import REGISTRY_DEVICES_KEY, connect_store
from tests.ingest.devices import key_of, record

BOX = KeyBox(b"m" * 32)
NOBODY = connect_store("redis://127.0.0.1:1")


def unhandled(device_id, **changes):
    return record(device_id, 0, **changes)


@pytest.mark.servers
async def test_a_handle_is_given_once_and_for_ever(store):
    registry = Registry(store, BOX)
    one = await registry.put(unhandled("d1"))
    two = await registry.put(unhandled("d2", role=Role.PROTECTED, person_id="anna"))
    assert (one.handle, two.handle) == (1, 2)
    again = await registry.put(unhandled("d1", partition="p5", enabled=False))
    assert again.handle == 1
    other = Registry(store, BOX)
    assert await other.load_all() == 2
    assert other.find("d1") == again == other.by_handle(1)
    assert other.find("d2") == two
    assert two.person_id == "anna"
    assert other.find("d3") is None
    assert len(other) == 2


@pytest.mark.servers
async def test_many_writers_at_once_give_every_device_one_handle(store):
    registries = [Registry(store, BOX) for _ in range(6)]
    names = [f"d{n}" for n in range(40)]
    written = await asyncio.gather(
        *(r.put_many([unhandled(name) for name in names]) for r in registries)
    )
    handles = [{device.device_id: device.handle for device in part} for part in written]
    assert all(part == handles[0] for part in handles)
    assert len(set(handles[0].values())) == 40


@pytest.mark.servers
async def test_changes_are_seen_and_nothing_else_is_read(store):
    writer, reader = Registry(store, BOX), Registry(store, BOX)
    await writer.put_many([unhandled(f"d{n}") for n in range(1200)])
    assert await reader.load_all() == 1200
    assert await reader.refresh() == []
    generation = reader.generation
    await writer.put(unhandled("d7", enabled=False))
    await writer.put(unhandled("new"))
    changed = await reader.refresh()
    assert [device.device_id for device in changed] == ["d7", "new"]
    assert not changed[0].enabled
    assert reader.generation > generation
    assert await reader.refresh() == []


@pytest.mark.servers
async def test_a_store_that_lost_its_data_is_noticed(store):
    registry = Registry(store, BOX)
    await registry.put(unhandled("d1"))
    await registry.load_all()
    await store.execute_command("FLUSHALL")
    await registry.refresh()
    assert len(registry) == 0
    assert registry.find("d1") is None


@pytest.mark.servers
async def test_keys_are_not_stored_in_clear_and_cannot_be_moved(store):
    registry = Registry(store, BOX)
    await registry.put_many([unhandled("d1"), unhandled("d2")])
    stored = await store.execute_command("HGET", REGISTRY_DEVICES_KEY, "d1")
    assert key_of("d1") not in stored
    await store.execute_command("HSET", REGISTRY_DEVICES_KEY, "d2", stored)
    await store.execute_command("HSET", REGISTRY_DEVICES_KEY, "d3", b"noise")
    await store.execute_command("HSET", REGISTRY_DEVICES_KEY, "d4", stored)
    other = Registry(store, BOX)
    assert await other.load_all() == 1
    assert set(other.broken) == {"d2", "d3", "d4"}
    assert "does not open" in other.broken["d2"]
    stranger = Registry(store, KeyBox(b"n" * 32))
    assert await stranger.load_all() == 0
    assert "unknown master key" in stranger.broken["d1"]
    assert not any(key_of("d1").hex() in text for text in stranger.broken.values())


@pytest.mark.servers
async def test_a_device_that_breaks_is_forgotten_and_one_that_is_mended_comes_back(store):
    writer, reader = Registry(store, BOX), Registry(store, BOX)
    await writer.put(unhandled("d1"))
    await reader.load_all()
    foreign = Registry(store, KeyBox(b"n" * 32))
    await foreign.put(unhandled("d1"))
    assert await reader.refresh() == []
    assert reader.find("d1") is None
    assert "d1" in reader.broken
    await writer.put(unhandled("d1"))
    assert [device.device_id for device in await reader.refresh()] == ["d1"]
    assert reader.broken == {}


@pytest.mark.servers
async def test_the_master_key_is_changed_without_a_gap(store):
    await Registry(store, BOX).put(unhandled("d1"))
    both = Registry(store, KeyBox(b"n" * 32, b"m" * 32))
    await both.load_all()
    await both.put_many(list(both))
    new = Registry(store, KeyBox(b"n" * 32))
    assert await new.load_all() == 1
    assert [device.key for device in new] == [key_of("d1")]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"device_id": "a b"}, "device id"),
        ({"device_id": "x" * 65}, "device id"),
        ({"person_id": "a/b"}, "person id"),
        ({"partition": "{p}"}, "partition"),
        ({"key": b"short"}, "16 needed"),
        ({"contract": Contract.OWNTRACKS, "key": b"k" * 16}, "0 needed"),
    ],
)
async def test_a_record_that_cannot_be_one_is_refused_before_anything_is_written(changes, match):
    fields = {"device_id": "d1", "partition": "p0", "role": Role.WEARER, "key": b"k" * 16}
    with pytest.raises(RegistryError, match=match):
        await Registry(NOBODY, BOX).put(DeviceRecord(**(fields | changes)))


def test_a_record_never_shows_its_key():
    assert key_of("d1").hex() not in repr(record("d1"))
    assert repr(key_of("d1")) not in repr(record("d1"))


def test_the_box():
    sealed = BOX.seal("d1", b"k" * 16)
    assert BOX.open("d1", sealed) == b"k" * 16
    assert BOX.seal("d1", b"k" * 16) != sealed
    for broken in (b"", sealed[:10], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(RegistryError):
            BOX.open("d1", broken)
    with pytest.raises(RegistryError):
        KeyBox(b"short")


def test_the_master_key_comes_from_a_file_or_the_environment(tmp_path):
    key = bytes(range(32))
    text = base64.b64encode(key).decode()
    file = tmp_path / "key"
    file.write_text(text + "\n")
    assert read_master_key(file) == key
    assert read_master_key(environ={MASTER_KEY_VARIABLE: text}) == key
    file.write_text("hunter2 is not base64")
    for path, environ in (
        (file, {}),
        (tmp_path / "none", {}),
        (None, {}),
        (None, {MASTER_KEY_VARIABLE: "c2hvcnQ="}),
    ):
        with pytest.raises(RegistryError) as caught:
            read_master_key(path, environ)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("user", "device"), [("jane", "phone"), ("j-1_", "a.b.c")])
def test_the_id_of_a_phone_is_that_of_its_topic(user, device):
    assert owntracks_id(user, device) == parse_topic(f"owntracks/{user}/{device}")[0]


@pytest.mark.parametrize(
    ("user", "device"), [("a.b", "c"), ("", "c"), ("a", ""), ("a/b", "c"), ("a" * 40, "b" * 40)]
)
def test_what_is_no_phone(user, device):
    with pytest.raises(RegistryError):
        owntracks_id(user, device)
