"""Sessions: what is kept while a client is away, for how long, and what is sent again."""

import time

from check import V5, V31, V311, check, run, will_properties

KEPT = {"SessionExpiryInterval": 3600}


def kept(at):
    return {"clean": False, **(KEPT if at.version == V5 else {})}


@check(V311, V5)
def session_present_says_what_was_kept(at):
    assert not at.client("c", **kept(at)).session_present
    for _ in range(2):
        client = at.client("c", **kept(at))
        assert client.session_present
        client.leave()
    assert not at.client("c", clean=True).session_present


@check(V31, V311, V5)
def messages_wait_for_a_client_that_is_away(at):
    away = at.client("c", **kept(at))
    away.sub(at.topic(), 2)
    away.leave()
    publisher = at.client()
    for number in range(100):
        publisher.pub(at.topic(), str(number), 1 + number % 2)
    again = at.client("c", **kept(at))
    found = [again.message() for _ in range(100)]
    # paho hands a message of QoS 2 out at its PUBREL, perhaps after later ones of QoS 1.
    for qos in (1, 2):
        numbers = [int(message.payload) for message in found if message.qos == qos]
        assert numbers == list(range(qos - 1, 100, 2)), numbers
    again.got_nothing_else(publisher, at.topic())


@check(V31, V311, V5)
def messages_wait_for_a_client_that_was_cut_off(at):
    away = at.client("c", **kept(at))
    away.sub(at.topic(), 2)
    away.cut()
    publisher = at.client()
    publisher.pub(at.topic(), b"1", 1)
    publisher.pub(at.topic(), b"2", 2)
    again = at.client("c", **kept(at))
    found = sorted((message.qos, message.payload) for message in (again.message(), again.message()))
    assert found == [(1, b"1"), (2, b"2")], found
    again.got_nothing_else(publisher, at.topic())


@check(V31, V311, V5)
def a_clean_start_forgets_subscriptions_and_messages(at):
    away = at.client("c", **kept(at))
    away.sub(at.topic("a"), 1)
    away.leave()
    publisher = at.client()
    publisher.pub(at.topic("a"), b"forgotten", 1)
    again = at.client("c", clean=True)
    again.sub(at.topic("b"), 1)
    publisher.pub(at.topic("a"), b"not subscribed", 1)
    again.got_nothing_else(publisher, at.topic("b"))


@check(V31, V311, V5)
def a_clean_session_keeps_nothing(at):
    away = at.client("c", clean=True)
    away.sub(at.topic("a"), 1)
    away.leave()
    publisher = at.client()
    publisher.pub(at.topic("a"), b"forgotten", 1)
    again = at.client("c", **kept(at))
    again.sub(at.topic("b"), 1)
    assert not again.session_present
    again.got_nothing_else(publisher, at.topic("b"))


@check(V311, V5)
def an_unacknowledged_message_comes_again_with_dup(at):
    careless = at.client("c", manual_ack=True, **kept(at))
    careless.sub(at.topic(), 1)
    publisher = at.client()
    publisher.pub(at.topic(), b"again", 1)
    first = careless.got(at.topic(), b"again", qos=1)
    assert not first.dup
    careless.cut()
    again = at.client("c", **kept(at))
    second = again.got(at.topic(), b"again", qos=1)
    assert second.dup and second.mid == first.mid  # [MQTT-4.4.0-1]
    again.got_nothing_else(publisher, at.topic())


@check(V311, V5)
def a_qos_2_exchange_goes_on_where_it_was(at):
    # paho, acknowledging by hand, sends PUBREC and leaves PUBCOMP to us.
    careless = at.client("c", manual_ack=True, **kept(at))
    careless.sub(at.topic(), 2)
    publisher = at.client()
    publisher.pub(at.topic(), b"once", 2)
    careless.got(at.topic(), b"once", qos=2)
    careless.cut()
    again = at.client("c", **kept(at))
    # Of the message itself, which was received, there is no second copy: only PUBREL. [MQTT-4.3.3-2]
    again.got_nothing_else(publisher, at.topic(), qos=2)


@check()
def a_session_expires(at):
    witness = at.client()
    witness.sub(at.topic("will"), 1)
    # A will that waits longer than the session lives is sent when that ends.
    will = {"topic": at.topic("will"), "qos": 1, "properties": will_properties(WillDelayInterval=3600)}
    at.client("c", will=will, SessionExpiryInterval=2).cut()
    again = at.client("c", clean=False, will=will, SessionExpiryInterval=1)
    assert again.session_present
    again.cut()
    witness.got(at.topic("will"), b"")
    assert not at.client("c", clean=False).session_present


@check()
def an_expiry_of_zero_ends_with_the_connection(at):
    client = at.client("c", clean=False)
    client.cut()
    again = at.client("c", clean=False)
    assert not again.session_present


@check()
def a_disconnect_may_change_the_expiry(at):
    at.client("c", **KEPT).leave(SessionExpiryInterval=0)
    assert not at.client("c", clean=False, **KEPT).session_present
    at.client("d", SessionExpiryInterval=1).leave(SessionExpiryInterval=3600)
    assert at.client("d", clean=False).session_present


@check()
def an_expiry_of_zero_is_not_changed_by_a_disconnect(at):
    client = at.client("c")
    client.leave(SessionExpiryInterval=3600)  # A protocol error, 3.14.2.2.2.
    assert not at.client("c", clean=False).session_present


@check()
def a_message_expires_while_it_waits(at):
    away = at.client("c", clean=False, **KEPT)
    away.sub(at.topic(), 1)
    away.leave()
    publisher = at.client()
    publisher.pub(at.topic(), b"short", 1, MessageExpiryInterval=1)
    publisher.pub(at.topic(), b"long", 1, MessageExpiryInterval=1000)
    time.sleep(2.1)  # The time itself is what is tested.
    again = at.client("c", clean=False, **KEPT)
    left = again.got(at.topic(), b"long").properties.MessageExpiryInterval
    assert 990 <= left <= 998, left  # [MQTT-3.3.2-6]
    again.got_nothing_else(publisher, at.topic())


@check(V311, V5)
def qos_0_does_not_end_a_session(at):
    """Whether QoS 0 is kept for a client that is away is the broker's choice; what follows arrives in any case."""
    away = at.client("c", **kept(at))
    away.sub(at.topic("a"), 1)
    away.leave()
    publisher = at.client()
    publisher.pub(at.topic("a"), b"perhaps", 0)
    publisher.pub(at.topic("a"), b"surely", 1)
    again = at.client("c", **kept(at))
    payload = again.message().payload
    assert payload == b"surely" or (payload, again.message().payload) == (b"perhaps", b"surely")


run()
