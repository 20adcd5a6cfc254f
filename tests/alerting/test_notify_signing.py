"""Signatures: what we sign, the library verifies; what we accept, the library has signed."""

from datetime import UTC, datetime
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from alerting.notify.signing import SignatureFault, Signer
from tests.alerting.notify_support import OLD_SECRET, SECRET

TOLERANCE_MS = 300_000


def now_ms():
    return int(time() * 1000)


@given(st.text(max_size=200), st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True))
def test_the_library_verifies_what_we_sign(text, key):
    body = text.encode("utf-8", "replace")
    headers = Signer([SECRET]).headers(key, body, now_ms())
    Webhook(SECRET).verify(body, headers, json_parse=False)
    assert headers["webhook-id"] == key


@pytest.mark.parametrize("receiver_has", [SECRET, OLD_SECRET])
def test_during_a_rotation_both_secrets_verify(receiver_has):
    headers = Signer([SECRET, OLD_SECRET]).headers("k", b"{}", now_ms())
    assert headers["webhook-signature"].count("v1,") == 2
    Webhook(receiver_has).verify(b"{}", headers, json_parse=False)


def test_the_published_example_of_the_specification():
    # Standard Webhooks, libraries' common test vector.
    signer = Signer(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    headers = signer.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330_000
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed_by_library(secret, body, at_s, key="m"):
    signature = Webhook(secret).sign(key, datetime.fromtimestamp(at_s, UTC), body.decode())
    return {"webhook-id": key, "webhook-timestamp": str(at_s), "webhook-signature": signature}


class TestFault:
    def test_none_for_either_secret(self):
        signer = Signer([SECRET, OLD_SECRET])
        for secret in (SECRET, OLD_SECRET):
            headers = signed_by_library(secret, b"{}", 1_000)
            assert signer.fault(headers, b"{}", 1_000_000, TOLERANCE_MS) is None

    @pytest.mark.parametrize(
        ("at_s", "fault"),
        [
            (700, None),
            (699, SignatureFault.TIMESTAMP_TOO_OLD),
            (1_300, None),
            (1_301, SignatureFault.TIMESTAMP_TOO_NEW),
        ],
    )
    def test_the_tolerance_of_the_clock(self, at_s, fault):
        headers = signed_by_library(SECRET, b"{}", at_s)
        assert Signer([SECRET]).fault(headers, b"{}", 1_000_000, TOLERANCE_MS) is fault

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_a_missing_header(self, name):
        headers = signed_by_library(SECRET, b"{}", 1_000)
        del headers[name]
        fault = Signer([SECRET]).fault(headers, b"{}", 1_000_000, TOLERANCE_MS)
        assert fault is SignatureFault.HEADER_MISSING

    @pytest.mark.parametrize(
        "stamp", ["nan", "1e3", "-1000", "1000.5", "\u0661\u0660", "9" * 400, "0x3e8"]
    )
    def test_a_time_stamp_that_is_no_number(self, stamp):
        headers = {**signed_by_library(SECRET, b"{}", 1_000), "webhook-timestamp": stamp}
        fault = Signer([SECRET]).fault(headers, b"{}", 1_000_000, TOLERANCE_MS)
        assert fault is SignatureFault.TIMESTAMP_MALFORMED

    @given(st.text(max_size=80), st.binary(max_size=60))
    def test_no_header_and_no_body_raises(self, signature, body):
        headers = {
            "webhook-id": "m",
            "webhook-timestamp": "1000",
            "webhook-signature": signature or "x",
        }
        fault = Signer([SECRET]).fault(headers, body, 1_000_000, TOLERANCE_MS)
        assert fault in {SignatureFault.NO_MATCH, SignatureFault.BODY_NOT_TEXT}

    @given(st.integers(0, 40))
    def test_any_changed_byte_of_the_body(self, place):
        body = bytearray(b'{"target":"meldkamer","id":"p0-1-0-0","by":"x"}')
        headers = signed_by_library(SECRET, bytes(body), 1_000)
        body[place] ^= 1
        fault = Signer([SECRET]).fault(headers, bytes(body), 1_000_000, TOLERANCE_MS)
        assert fault is SignatureFault.NO_MATCH

    def test_the_id_and_the_time_are_signed_too(self):
        headers = signed_by_library(SECRET, b"{}", 1_000)
        signer = Signer([SECRET])
        for name, value in (("webhook-id", "n"), ("webhook-timestamp", "1001")):
            fault = signer.fault({**headers, name: value}, b"{}", 1_000_000, TOLERANCE_MS)
            assert fault is SignatureFault.NO_MATCH

    def test_another_version_of_signature_is_passed_over(self):
        headers = signed_by_library(SECRET, b"{}", 1_000)
        headers["webhook-signature"] = "v1a,AAAA v2 " + headers["webhook-signature"]
        assert Signer([SECRET]).fault(headers, b"{}", 1_000_000, TOLERANCE_MS) is None
