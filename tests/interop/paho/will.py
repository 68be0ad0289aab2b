"""Wills: sent when a connection breaks, not after a DISCONNECT; with delay."""

import time

from check import V5, V31, V311, check, run, will_properties, within


def will_of(at, **options):
    return {"topic": at.topic("will"), "payload": b"gone", "qos": 1, **options}


def witness_of(at, qos=2, **options):
    witness = at.client(**options)
    witness.sub(at.topic("#"), qos)
    return witness


@check(V31, V311, V5)
def a_will_is_sent_when_the_connection_breaks(at):
    for qos in range(3):
        witness = witness_of(at)
        at.client(will=will_of(at, qos=qos)).cut()
        witness.got(at.topic("will"), b"gone", qos=qos, retain=False)
        witness.leave()


@check(V31, V311, V5)
def a_will_is_not_sent_after_a_disconnect(at):
    witness = witness_of(at)
    at.client(will=will_of(at)).leave()
    witness.got_nothing_else(witness, at.topic("a"))  # [MQTT-3.14.4-3]


@check(V31, V311, V5)
def a_client_that_comes_back_after_its_disconnect_has_left_no_will(at):
    """The new connection may reach another shard before the DISCONNECT, which was sent earlier, reaches the first."""
    witness = witness_of(at)
    client = at.client("c", will=will_of(at))
    for _ in range(20):
        client.disconnect()
        within(client.closings, "end of the connection")
        client = at.client("c", will=will_of(at))
    witness.got_nothing_else(client, at.topic("a"))


@check(V31, V311, V5)
def a_will_is_retained_where_it_says_so(at):
    witness = witness_of(at)
    at.client(will=will_of(at, retain=True)).cut()
    witness.got(at.topic("will"), b"gone", retain=False)
    witness_of(at).got(at.topic("will"), b"gone", qos=1, retain=True)


@check(V31, V311, V5)
def a_will_is_sent_when_the_keep_alive_runs_out(at):
    witness = witness_of(at)
    silent = at.client(will=will_of(at), keep_alive=1)
    silent._keepalive = 0
    witness.got(at.topic("will"), b"gone")


@check(V31, V311, V5)
def a_will_is_sent_when_another_takes_the_session_over(at):
    witness = witness_of(at)
    at.client("c", will=will_of(at))
    at.client("c")
    witness.got(at.topic("will"), b"gone")


@check()
def a_will_is_sent_after_disconnect_with_will_message(at):
    witness = witness_of(at)
    at.client(will=will_of(at)).leave(reason=0x04)
    witness.got(at.topic("will"), b"gone")


@check()
def a_will_passes_its_properties_on(at):
    witness = witness_of(at)
    given = will_properties(
        ContentType="text/plain",
        PayloadFormatIndicator=1,
        ResponseTopic="answer/here",
        CorrelationData=b"\x00\x01",
        UserProperty=[("a", "1"), ("b", "2")],
        MessageExpiryInterval=100,
    )
    at.client(will=will_of(at, properties=given)).cut()
    found = witness.got(at.topic("will"), b"gone").properties
    assert (found.ContentType, found.PayloadFormatIndicator) == ("text/plain", 1)
    assert (found.ResponseTopic, found.CorrelationData) == ("answer/here", b"\x00\x01")
    assert found.UserProperty == [("a", "1"), ("b", "2")]
    assert 0 < found.MessageExpiryInterval <= 100
    assert not hasattr(found, "WillDelayInterval")


@check()
def a_will_waits_for_its_delay(at):
    witness = witness_of(at)
    delayed = will_of(at, properties=will_properties(WillDelayInterval=1))
    client = at.client(will=delayed, SessionExpiryInterval=60)
    began = time.monotonic()
    client.cut()
    witness.got(at.topic("will"), b"gone")
    took = time.monotonic() - began
    assert took > 0.9, f"after {took} s"  # [MQTT-3.1.3-9]


@check()
def a_delayed_will_is_not_sent_when_the_client_is_back(at):
    witness = witness_of(at)
    delayed = will_of(at, properties=will_properties(WillDelayInterval=1))
    at.client("c", will=delayed, SessionExpiryInterval=60).cut()
    again = at.client("c", clean=False, SessionExpiryInterval=60)
    assert again.session_present
    # Another will, later delayed as long, comes first.
    at.client(will=will_of(at, topic=at.topic("later"), properties=will_properties(WillDelayInterval=1)),
              SessionExpiryInterval=60).cut()
    witness.got(at.topic("later"), b"gone")
    witness.got_nothing_else(again, at.topic("a"))


@check()
def a_session_that_ends_sends_its_delayed_will(at):
    witness = witness_of(at)
    delayed = will_of(at, properties=will_properties(WillDelayInterval=3600))
    at.client(will=delayed, SessionExpiryInterval=1).cut()
    witness.got(at.topic("will"), b"gone")


@check()
def a_clean_start_ends_the_session_and_sends_its_delayed_will(at):
    witness = witness_of(at)
    delayed = will_of(at, properties=will_properties(WillDelayInterval=3600))
    at.client("c", will=delayed, SessionExpiryInterval=3600).cut()
    at.client("c", clean=True)
    witness.got(at.topic("will"), b"gone")


run()
