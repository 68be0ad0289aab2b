"""Receive Maximum and Maximum Packet Size, the client's and the broker's."""

from check import V5, V311, check, run


@check()
def the_clients_receive_maximum_holds(at):
    client = at.client(manual_ack=True, ReceiveMaximum=3)
    publisher = at.client()
    client.sub(at.topic("a"), 1)
    client.sub(at.topic("b"), 0)
    for number in range(10):
        publisher.pub(at.topic("a"), str(number), 1)
    seen = [client.got(at.topic("a"), str(number).encode(), qos=1) for number in range(3)]
    # QoS 0 is not held up, and what was would have come before it.
    publisher.pub(at.topic("b"), b"meanwhile")
    client.got(at.topic("b"), b"meanwhile")
    for number in range(3, 10):
        client.ack(seen.pop(0).mid, 1)  # [MQTT-3.3.4-9]
        seen.append(client.got(at.topic("a"), str(number).encode(), qos=1))


@check()
def a_receive_maximum_of_one_lets_all_through(at):
    client, publisher = at.client(ReceiveMaximum=1), at.client()
    client.sub(at.topic(), 2)
    for number in range(50):
        publisher.pub(at.topic(), str(number), 1 + number % 2)
    assert client.payloads(50) == [str(number).encode() for number in range(50)]


@check()
def the_brokers_receive_maximum_can_be_used_up(at):
    subscriber = at.client()
    subscriber.sub(at.topic(), 2)
    allowed = min(getattr(subscriber.connack, "ReceiveMaximum", 65535), 1000)
    client = at.client(inflight=allowed)
    infos = [client.start_pub(at.topic(), str(number), 2) for number in range(allowed)]
    for info in infos:
        info.wait_for_publish(20)
        assert info.is_published()
    assert subscriber.payloads(allowed) == [str(number).encode() for number in range(allowed)]


@check()
def what_is_too_large_for_a_client_is_left_out(at):
    small, large, publisher = at.client(MaximumPacketSize=200), at.client(), at.client()
    for client in (small, large):
        client.sub(at.topic(), 2)
    for qos in range(3):
        publisher.pub(at.topic(), bytes(300), qos)
        publisher.pub(at.topic(), b"fits", qos)
        small.got(at.topic(), b"fits", qos=qos)  # [MQTT-3.1.2-24], -25
        large.got(at.topic(), bytes(300))
        large.got(at.topic(), b"fits")


@check()
def what_is_too_large_for_the_broker_is_refused(at):
    client = at.client()
    allowed = getattr(client.connack, "MaximumPacketSize", None)
    assert allowed is not None, "the broker is configured to have a Maximum Packet Size, and does not tell"
    client.raw(publish_header(allowed))
    assert client.closed() == 0x95


@check(V311)
def what_is_too_large_ends_an_older_connection(at):
    allowed = at.client(version=V5).connack.MaximumPacketSize
    client = at.client()
    client.raw(publish_header(allowed))
    assert client.closed() is None


def publish_header(remaining_length):
    """The packet is longer by the header. More is not sent: a broker that closes would answer it with a reset, in which
    its DISCONNECT is lost."""
    found = b"\x30"
    while remaining_length > 127:
        found += bytes([remaining_length % 128 | 128])
        remaining_length //= 128
    return found + bytes([remaining_length])


run()
