"""Signing in, second factor, sessions and their end, foreign sites, too many requests."""

import asyncio
import threading

import pytest

from afstand.console_role import keep_sessions
from afstand.limits import CONSOLE_SESSION_H_MAX, CONSOLE_SESSION_IDLE_MIN
from alerting.book.roles import Role
from console.access.gate import Buckets, Gate
from console.access.passwords import PasswordError, Sealer, totp_step
from console.access.store import AccessStore, token_hash
from console.settings import Settings
from tests.console.site import PASSWORD, TOTP, ConsoleSite
from tests.ingest.fake_broker import until


def sign_in(site, browser, **changes):
    said = {"name": "op-1", "password": PASSWORD, "code": site.code()} | changes
    return browser.post("/v1/session", json=said)


@pytest.fixture
def people(site):
    site.account("op-1", Role.OPERATOR)
    site.account("lead-1", Role.SHIFT_LEAD)
    return site


def test_name_password_and_code_sign_somebody_in(people):
    browser = people.browser()
    assert browser.get("/v1/session").status_code == 401
    answer = sign_in(people, browser)
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    shown = browser.get("/v1/session").json()
    assert (shown["name"], shown["role"], shown["locked"]) == ("op-1", "operator", False)
    assert "handle" in shown["rights"]
    assert people.hub.operators == 1
    gone = browser.delete("/v1/session", headers={"X-CSRF-Token": shown["csrf_token"]})
    assert gone.status_code == 204
    assert browser.get("/v1/session").status_code == 401
    assert people.hub.operators == 0


@pytest.mark.parametrize(
    "changes", [{"name": "op-2"}, {"password": PASSWORD + "!"}, {"code": "000000"}, {"code": ""}]
)
def test_whatever_is_wrong_the_answer_is_the_same(people, changes):
    answer = sign_in(people, people.browser(), **changes)
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong-name-password-or-code")
    assert "set-cookie" not in answer.headers


def test_a_code_counts_once(people):
    code = people.code()
    assert sign_in(people, people.browser(), code=code).status_code == 201
    assert sign_in(people, people.browser(), code=code).status_code == 401
    people.room.journal.pass_s(30)
    assert sign_in(people, people.browser()).status_code == 201


def test_a_code_is_taken_one_step_early_or_late():
    for late_s, good in ((-61, False), (-30, True), (0, True), (30, True), (61, False)):
        import pyotp

        code = pyotp.TOTP(TOTP).at(1_790_000_010 + late_s)
        assert (totp_step(TOTP, code, 1_790_000_010, 0) is not None) is good


def test_too_many_attempts_have_to_wait(people):
    answers = [sign_in(people, people.browser(), code="000000").status_code for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    # Not even the right one, and not from there with another name.
    assert sign_in(people, people.browser()).status_code == 429
    late = sign_in(people, people.browser(), name="lead-1")
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    people.room.journal.pass_s(300)
    assert sign_in(people, people.browser()).status_code == 201


def test_a_disabled_account_is_out_at_once(people):
    me = people.browser()
    assert sign_in(people, me).status_code == 201
    import msgspec

    account = people.store.account("op-1")
    people.store.put_account(msgspec.structs.replace(account, disabled=True))
    people.gate.keep_due()  # the role does so every second
    assert me.get("/v1/session").status_code == 401
    assert sign_in(people, people.browser()).status_code == 401


def test_a_session_that_nobody_uses_is_locked_and_shows_nothing(people):
    me = people.browser()
    csrf = sign_in(people, me).json()["csrf_token"]
    quiet = {"X-Background": "1"}
    for _ in range(CONSOLE_SESSION_IDLE_MIN):
        assert me.get("/v1/incidents", headers=quiet).status_code == 200
        people.room.journal.pass_s(60)
    people.room.journal.pass_s(1)
    refused = me.get("/v1/incidents", headers=quiet)
    assert (refused.status_code, refused.json()["code"]) == (401, "session-locked")
    assert me.get("/v1/session").json()["locked"] is True
    wrong = me.post("/v1/session/unlock", json={"password": "x"}, headers={"X-CSRF-Token": csrf})
    assert wrong.status_code == 401
    good = me.post(
        "/v1/session/unlock", json={"password": PASSWORD}, headers={"X-CSRF-Token": csrf}
    )
    assert good.is_success
    assert me.get("/v1/incidents").is_success


def test_a_session_ends_after_a_shift_and_a_half_whatever_one_does(people):
    me = people.browser()
    sign_in(people, me)
    for _ in range(CONSOLE_SESSION_H_MAX * 4):
        assert me.get("/v1/session").is_success
        people.room.journal.pass_s(900)
    people.room.journal.pass_s(1)
    assert me.get("/v1/session").status_code == 401


def test_sessions_survive_a_restart_and_tokens_are_kept_as_hashes(people, tmp_path):
    me = people.browser()
    sign_in(people, me)
    token = me.cookies[people.services.cookie]
    gate = Gate(people.store, people.passwords, people.sealer)
    found = gate.session(token, people.link.now_ms(), active=True)
    assert found is not None
    assert found.name == "op-1"
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("console.db*"))
    assert token.encode() not in raw
    assert token_hash(token) in raw
    assert PASSWORD.encode() not in raw
    assert TOTP.encode() not in raw


async def test_that_a_session_was_used_is_written_beside_the_loop(people, monkeypatch):
    """Each write waits for the disk, and screens ask all the time."""
    me = people.browser()
    sign_in(people, me)
    (before,) = people.store.sessions()
    people.room.journal.pass_s(61)
    keep, threads = people.store.keep_session, []

    def kept(session):
        there = keep(session)
        threads.append(threading.current_thread())
        return there

    monkeypatch.setattr(people.store, "keep_session", kept)
    for _ in range(3):
        assert me.get("/v1/session").is_success
    assert threads == []
    keeping = asyncio.create_task(keep_sessions(people.gate))
    await until(lambda: threads)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert threading.current_thread() not in threads
    assert len(threads) == 1
    (after,) = people.store.sessions()
    assert after.active_ms == before.active_ms + 61_000


def test_nobody_changes_anything_from_another_site_or_without_the_token(people):
    me = people.as_role(Role.OPERATOR)
    body = {"alarm_class": "panic", "reason": "test", "wearer_id": "wim"}
    good = dict(me.headers)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = me.post("/v1/incidents", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin")
    for token in ("", "x", good["x-csrf-token"] + "x"):
        answer = me.post("/v1/incidents", json=body, headers={"X-CSRF-Token": token})
        assert answer.json()["code"] == "csrf-token-missing-or-wrong"
    other = people.as_role(Role.OPERATOR, "op-9").headers["X-CSRF-Token"]
    answer = me.post("/v1/incidents", json=body, headers={"X-CSRF-Token": other})
    assert answer.json()["code"] == "csrf-token-missing-or-wrong"
    form = me.post("/v1/incidents", data=body)
    assert form.status_code == 415
    assert people.room.model.incidents.rows == {}
    ours = {"Origin": "http://console.test", "Sec-Fetch-Site": "same-origin"}
    assert me.post("/v1/incidents", json=body, headers=ours).is_success
    # Nor can another site sign somebody in as somebody else.
    foreign = people.browser().post(
        "/v1/session",
        json={"name": "op-1", "password": PASSWORD, "code": people.code()},
        headers={"Origin": "https://evil.example"},
    )
    assert foreign.status_code == 403


def test_one_session_cannot_ask_without_end(people):
    me = people.as_role(Role.OPERATOR)
    answers = [me.get("/v1/session").status_code for _ in range(260)]
    assert answers.count(200) == 200
    assert answers[-1] == 429
    assert people.as_role(Role.OPERATOR, "op-2").get("/v1/session").is_success


def test_every_answer_has_the_headers_that_browsers_need(people, tmp_path):
    browser = people.browser()
    for path in ("/", "/v1/session", "/v1/openapi.json", "/nothing", "/page/none.js"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
    folder = tmp_path / "secure"
    folder.mkdir()
    secure = ConsoleSite(folder, settings=Settings(secure=True, public_url="https://console.test"))
    secure.account("op-1", Role.OPERATOR)
    answer = sign_in(secure, secure.browser())
    assert answer.headers["set-cookie"].startswith("__Host-afstand=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "strict-transport-security" in answer.headers
    secure.close()


def test_passwords_have_a_least_length_and_hashes_differ(site):
    with pytest.raises(PasswordError, match="at least 12"):
        site.passwords.hash("short")
    with pytest.raises(PasswordError, match="at most"):
        site.passwords.hash("x" * 1000)
    one, two = site.passwords.hash(PASSWORD), site.passwords.hash(PASSWORD)
    assert one != two
    assert one.startswith("$argon2id$")


def test_a_sealed_secret_opens_for_its_own_name_and_key_only():
    sealed = Sealer(bytes(32)).seal("op-1", "secret")
    assert Sealer(bytes(32)).open("op-1", sealed) == "secret"
    for key, name, raw in (
        (bytes(31) + b"x", "op-1", sealed),
        (bytes(32), "op-2", sealed),
        (bytes(32), "op-1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (bytes(32), "op-1", b""),
    ):
        with pytest.raises(ValueError, match=r"sealed|[Nn]once"):
            Sealer(key).open(name, raw)


def test_buckets_fill_again_and_forget_the_least_used():
    buckets = Buckets(per_s=2, burst=4, keys_max=2)
    assert [buckets.take("a", 0) == 0 for _ in range(5)] == [True] * 4 + [False]
    assert buckets.take("a", 499) > 0
    assert buckets.take("a", 1_100) == 0
    buckets.take("b", 1_100)
    buckets.take("c", 1_100)
    assert [buckets.take("a", 1_100) == 0 for _ in range(4)] == [True] * 4


def test_a_file_of_another_format_is_refused(tmp_path):
    store = AccessStore(tmp_path / "console.db")
    store._db.execute("UPDATE format SET version = 9")
    store.close()
    with pytest.raises(RuntimeError, match="format 9"):
        AccessStore(tmp_path / "console.db")
    assert (tmp_path / "console.db").stat().st_mode & 0o077 == 0
