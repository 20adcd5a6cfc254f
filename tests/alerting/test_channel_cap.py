"""CAP 1.2: judged by the OASIS schema with lxml, and by what the standard says in words."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from alerting.book.types import AlarmClass, Audience, Position, Priority, Purpose, Reference
from alerting.notify.cap import NAMESPACE, CapRenderer, circle, identifier_of
from alerting.notify.delivery import RenderError, delivery_of_command, delivery_of_notice
from alerting.notify.localtime import cap_time
from alerting.notify.settings import CapTarget
from tests.alerting.notify_support import SECRET, START_MS, command, full_notice, notice

NS = {"cap": NAMESPACE}


@pytest.fixture(scope="module")
def cap(data):
    return data / "conformance" / "cap"


@pytest.fixture(scope="module")
def schema(cap):
    return etree.XMLSchema(etree.parse(cap / "CAP-v1.2-schema.xsd"))


def target(**changes):
    fields = {
        "url": "https://meldkamer.example/",
        "secrets": (SECRET,),
        "audiences": (Audience.POLICE,),
        "sender": "meldcentrale@afstand.example",
    }
    return CapTarget(**{**fields, **changes})


def render(body, key="p0-1764500000000-0-0", to=None, renderer=None):
    message = (renderer or CapRenderer(to or target()))(delivery_of_notice(key, body))
    assert message.headers["Content-Type"].startswith("application/cap+xml")
    return message.body


def valid(schema, body):
    tree = etree.fromstring(body)
    schema.assertValid(tree)
    # The schema takes any global element as a root (dataplane: check it explicitly).
    assert tree.tag == f"{{{NAMESPACE}}}alert"
    return tree


def text(tree, path):
    return tree.findtext(path, namespaces=NS)


def parameters(tree):
    return {
        p.findtext("cap:valueName", namespaces=NS): p.findtext("cap:value", namespaces=NS)
        for p in tree.find("cap:info", NS).findall("cap:parameter", NS)
    }


@pytest.mark.parametrize(
    ("alarm_class", "purpose"), list(product(AlarmClass, Purpose)), ids=lambda word: word.value
)
def test_every_class_and_purpose_is_valid(schema, alarm_class, purpose):
    for body in (notice(alarm_class, purpose), full_notice(alarm_class=alarm_class, drill=True)):
        tree = valid(schema, render(body))
        assert len(tree.findall("cap:info", NS)) == 2


def test_a_full_notice_says_everything(schema):
    tree = valid(schema, render(full_notice()))
    assert text(tree, "cap:identifier") == "afstand-p0-1764500000000-0-0"
    assert text(tree, "cap:sender") == "meldcentrale@afstand.example"
    assert text(tree, "cap:sent") == "2025-11-30T11:53:20+01:00"
    assert text(tree, "cap:status") == "Actual"
    assert text(tree, "cap:msgType") == "Alert"
    assert text(tree, "cap:scope") == "Restricted"
    assert text(tree, "cap:restriction")
    assert text(tree, "cap:incidents") == "inc-1"
    languages = [text(info, "cap:language") for info in tree.findall("cap:info", NS)]
    assert languages == ["nl-NL", "en"]
    found = parameters(tree)
    assert found["order"] == "order-7"
    assert found["order-kind"] == "contact-ban"
    assert found["probability"] == "0.986"
    assert found["distance-m"] == "412.3"
    assert found["time-to-contact-s"] == "72"
    assert found["wearer-age-s"] == "9"
    assert found["protected-person-age-s"] == "4"
    assert found["authenticated"] == "true"
    assert found["acknowledge-by"] == cap_time(START_MS + 60_000)
    dutch, english = tree.findall("cap:info", NS)
    assert text(dutch, "cap:headline") == "Te dichtbij - wearer-4"
    assert text(english, "cap:headline") == "Too close - wearer-4"
    assert "Afstand 412 m. Kans 98 %. Tijd tot contact 72 s." in text(dutch, "cap:description")
    assert (text(dutch, "cap:urgency"), text(dutch, "cap:severity")) == ("Immediate", "Extreme")
    assert text(dutch, "cap:certainty") == "Observed"
    circles = [area.text for area in dutch.findall("cap:area/cap:circle", NS)]
    assert circles == ["51.920000,4.480000 0.012", "51.923457,4.481235 0.010"]


@pytest.mark.parametrize(
    ("purpose", "drill", "status"),
    [
        (Purpose.ALERT, False, "Actual"),
        (Purpose.ALERT, True, "Exercise"),
        (Purpose.TEST, False, "Test"),
        (Purpose.TEST, True, "Exercise"),
    ],
)
def test_an_exercise_or_a_test_is_never_actual(schema, purpose, drill, status):
    tree = valid(schema, render(notice(AlarmClass.PANIC, purpose, drill=drill)))
    assert text(tree, "cap:status") == status
    if drill:
        assert "OEFENING" in text(tree, "cap:note")
        for info in tree.findall("cap:info", NS):
            assert text(info, "cap:headline").startswith(("OEFENING", "EXERCISE"))


def test_later_messages_refer_to_the_earlier_ones(schema):
    first = valid(schema, render(notice(), key="p0-1-0-0"))
    assert first.find("cap:references", NS) is None
    told = Reference(key="p0-1-0-0", at_ms=START_MS)
    update = notice(purpose=Purpose.UPDATE, at_ms=START_MS + 5_000, references=(told,))
    second = valid(schema, render(update, key="p0-2-0-0"))
    reference = f"meldcentrale@afstand.example,afstand-p0-1-0-0,{cap_time(START_MS)}"
    assert text(second, "cap:msgType") == "Update"
    assert text(second, "cap:references") == reference
    both = (told, Reference(key="p0-2-0-0", at_ms=START_MS + 5_000))
    end = notice(purpose=Purpose.WITHDRAWN, at_ms=START_MS + 9_000, references=both)
    third = valid(schema, render(end, key="p0-3-0-0"))
    assert text(third, "cap:msgType") == "Cancel"
    assert len(text(third, "cap:references").split()) == 2
    assert text(third, "cap:info/cap:responseType") == "AllClear"


def test_an_escalation_is_an_update_for_those_who_heard_of_it_before(schema):
    told = Reference(key="p0-1-0-0", at_ms=START_MS)
    for references, expected in (((), "Alert"), ((told,), "Update")):
        body = notice(purpose=Purpose.ESCALATION, references=references)
        assert text(valid(schema, render(body)), "cap:msgType") == expected


def test_the_same_notice_gives_the_same_bytes_in_another_process():
    one, other = CapRenderer(target()), CapRenderer(target())
    assert render(full_notice(), renderer=one) == render(full_notice(), renderer=other)


def test_addresses_make_it_private(schema):
    to = target(addresses=("meldkamer-rotterdam", "officier van dienst"))
    tree = valid(schema, render(notice(), to=to))
    assert text(tree, "cap:scope") == "Private"
    assert text(tree, "cap:addresses") == 'meldkamer-rotterdam "officier van dienst"'
    assert tree.find("cap:restriction", NS) is None


def test_a_press_that_is_not_verified_says_so(schema):
    tree = valid(schema, render(notice(AlarmClass.PANIC, authenticated=False)))
    assert parameters(tree)["authenticated"] == "false"
    assert text(tree, "cap:info/cap:certainty") == "Possible"
    assert "niet geverifieerd" in text(tree, "cap:info/cap:headline")


@pytest.mark.parametrize(
    ("probability", "confirmed", "certainty"),
    [
        (1024, True, "Observed"),
        (1024, False, "Likely"),
        (600, True, "Likely"),
        (300, True, "Possible"),
    ],
)
def test_certainty_follows_the_probability(schema, probability, confirmed, certainty):
    body = full_notice(probability_1024=probability, confirmed=confirmed)
    assert text(valid(schema, render(body)), "cap:info/cap:certainty") == certainty


def test_without_a_position_the_area_says_unknown(schema):
    tree = valid(schema, render(notice(AlarmClass.PANIC)))
    assert tree.find("cap:info/cap:area/cap:circle", NS) is None
    assert text(tree, "cap:info/cap:area/cap:areaDesc") == "Plaats onbekend"


def test_the_protected_persons_place_is_for_control_rooms_only(schema):
    planted = Position(
        lat_e7=521_234_567, lon_e7=51_234_567, accuracy_mm=5_000, time_ms=START_MS, mechanism=1
    )
    for audience in Audience:
        body = full_notice(audience=audience, protected_position=planted, device_position=planted)
        shown = b"52.12" in render(body) or b"5.12345" in render(body)
        rooms = {Audience.POLICE, Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD}
        assert shown is (audience in rooms), audience


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(max_size=50), st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_no_text_breaks_the_xml(detail, reason, label):
    body = full_notice(detail=detail, reason=reason, labels=(label,), wearer_id=reason)
    tree = etree.fromstring(render(body))
    assert tree.tag == f"{{{NAMESPACE}}}alert"
    # XML's own rule: a parser reads any end of line as \n. All else comes back as it went in.
    wanted = reason.replace("\r\n", "\n").replace("\r", "\n")
    wanted = "".join(c if c in "\t\n" or c >= " " else "\ufffd" for c in wanted)
    wanted = wanted.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    assert parameters(tree)["reason"] == wanted


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-900_000_000, 900_000_000),
    st.integers(-1_800_000_000, 1_800_000_000),
)
def test_no_number_breaks_it_either(schema, number, lat_e7, lon_e7):
    position = Position(
        lat_e7=lat_e7, lon_e7=lon_e7, accuracy_mm=abs(number) % 10**9, time_ms=START_MS, mechanism=0
    )
    body = full_notice(
        wearer_position=position,
        distance_mm=number,
        time_to_contact_ms=number,
        closing_mm_s=number,
        wearer_age_ms=number,
        count=number,
    )
    valid(schema, render(body))


def test_a_time_that_is_none_cannot_be_rendered():
    for at_ms in (10**18, -(10**18)):
        with pytest.raises((ValueError, OverflowError, OSError)):
            render(notice(at_ms=at_ms))


def test_a_command_is_no_cap_message():
    with pytest.raises(RenderError):
        CapRenderer(target())(delivery_of_command("k", command()))


def test_a_circle_is_never_smaller_than_a_position_can_be():
    exact = Position(lat_e7=1, lon_e7=-1, accuracy_mm=0, time_ms=START_MS, mechanism=1)
    assert circle(exact) == "0.000000,-0.000000 0.010"


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        (1_774_745_999_000, "2026-03-29T01:59:59+01:00"),  # one second before summer time
        (1_774_746_000_000, "2026-03-29T03:00:00+02:00"),
        (1_792_890_000_000, "2026-10-25T02:00:00+01:00"),  # the second 02:00 of the night
        (1_792_886_400_000, "2026-10-25T02:00:00+02:00"),
    ],
)
def test_times_are_local_with_their_offset(at_ms, expected):
    assert cap_time(at_ms) == expected


def test_the_instruction_and_response_follow_the_purpose(schema):
    expected = {
        (Purpose.ALERT, Priority.CRITICAL): "Execute",
        (Purpose.ALERT, Priority.HIGH): "Assess",
        (Purpose.WITHDRAWN, Priority.CRITICAL): "AllClear",
        (Purpose.TEST, Priority.CRITICAL): "None",
        (Purpose.HISTORY, Priority.CRITICAL): "Assess",
    }
    for (purpose, priority), response in expected.items():
        tree = valid(schema, render(notice(purpose=purpose, priority=priority)))
        assert text(tree, "cap:info/cap:responseType") == response


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("valid.xml", True),
        ("no_signature.xml", True),  # these differ in their signature, which is no schema's matter
        ("invalid_signature.xml", True),
        ("invalid_digest.xml", True),
        ("invalid_certificate.xml", True),
        ("invalid_schema.xml", False),
    ],
)
def test_the_published_samples_are_judged_as_labelled(cap, schema, name, expected):
    assert schema.validate(etree.parse(cap / "samples" / name)) is expected


def test_the_identifier_comes_from_the_key_alone():
    assert identifier_of("p3-1-0-2") == "afstand-p3-1-0-2"
