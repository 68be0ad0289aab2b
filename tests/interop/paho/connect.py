"""Connecting and leaving: versions, client identifiers, keep alive, takeover."""

import socket
import time

from check import TIMEOUT_SECS, V5, V31, V311, check, run


@check(V31, V311, V5)
def connects_and_leaves(at):
    client = at.prepared()
    assert client.connected() == 0
    assert not client.session_present
    client.leave()


@check(V31, V311, V5)
def one_version_reaches_the_others(at):
    topic = at.topic()
    readers = [at.client(version=version) for version in (V31, V311, V5)]
    for reader in readers:
        reader.sub(topic, 2)
    at.client().pub(topic, b"to all", 2)
    for reader in readers:
        reader.got(topic, b"to all", qos=2)


@check()
def client_identifier_is_assigned(at):
    seen = set()
    for _ in range(2):
        client = at.prepared()
        client._client_id = b""
        assert client.connected() == 0
        seen.add(client.connack.AssignedClientIdentifier)
    assert len(seen) == 2 and "" not in seen, seen  # [MQTT-3.2.2-16]


@check()
def an_assigned_identifier_is_good_for_a_session(at):
    client = at.prepared(clean=False, SessionExpiryInterval=60)
    client._client_id = b""
    client.connected()
    again = at.prepared(clean=False)
    again._client_id = client.connack.AssignedClientIdentifier.encode()
    client.cut()
    again.connected()
    assert again.session_present


@check(V311)
def no_identifier_is_fine_with_a_clean_session(at):
    client = at.prepared()
    client._client_id = b""
    assert client.connected() == 0


@check(V311)
def no_identifier_is_refused_without_a_clean_session(at):
    # paho keeps this return code to itself.
    with socket.create_connection(at.address, TIMEOUT_SECS) as connection:
        connection.sendall(b"\x10\x0c\0\x04MQTT\x04\0\0\x3c\0\0")
        assert connection.makefile("rb").read() == b"\x20\x02\0\x02"  # [MQTT-3.1.3-8]


@check(V31, V311, V5)
def a_second_connection_takes_over(at):
    first = at.client("same")
    second = at.client("same")
    code = first.closed()
    assert code == (0x8E if at.version == V5 else None), code
    second.sub(at.topic())
    second.pub(at.topic(), b"alive")
    second.got(at.topic(), b"alive")


@check(V5)
def sessions_are_taken_over_between_versions(at):
    topic = at.topic()
    first = at.client("same", clean=False, SessionExpiryInterval=60)
    first.sub(topic, 1)
    second = at.client("same", version=V311, clean=False)
    assert first.closed() == 0x8E
    assert second.session_present
    at.client().pub(topic, b"still subscribed", 1)
    second.got(topic, b"still subscribed", qos=1)


@check(V31, V311, V5)
def a_silent_client_is_cut_off_after_its_keep_alive(at):
    began = time.monotonic()
    client = at.prepared(keep_alive=1)
    client.connected()
    client._keepalive = 0  # paho sends no pings from now on.
    code = client.closed()
    took = time.monotonic() - began
    assert took > 1.4, f"after {took} s of the 1.5 that are allowed"  # [MQTT-3.1.2-22]
    assert code == (0x8D if at.version == V5 else None), code


@check(V31, V311, V5)
def pings_keep_a_client_alive(at):
    client = at.client(keep_alive=1)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert client.closings.empty(), "cut off although it pings"
        time.sleep(0.1)
    client.sub(at.topic())


@check()
def server_keep_alive_is_that_of_the_client_or_told(at):
    client = at.client(keep_alive=65535)
    told = getattr(client.connack, "ServerKeepAlive", 65535)
    assert 0 < told <= 65535, told


run()
