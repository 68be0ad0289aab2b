"""Messages: QoS, sizes, order, topics in many scripts."""

import hashlib

from check import V5, V31, V311, check, run

MIB = 1 << 20


@check(V31, V311, V5)
def each_qos_arrives_at_the_lesser_of_published_and_granted(at):
    publisher = at.client()
    for granted in range(3):
        subscriber = at.client()
        assert subscriber.sub(at.topic(), granted) == granted
        for published in range(3):
            payload = f"{published} to {granted}".encode()
            publisher.pub(at.topic(), payload, published)
            subscriber.got(at.topic(), payload, qos=min(published, granted), retain=False)
        subscriber.leave()


@check(V31, V311, V5)
def a_client_hears_itself(at):
    client = at.client()
    client.sub(at.topic(), 2)
    for qos in range(3):
        client.pub(at.topic(), b"echo", qos)
        client.got(at.topic(), b"echo", qos=qos)


def in_order(at, qos, count):
    subscriber = at.client()
    allowed = at.client(version=V5).connack.json().get("ReceiveMaximum", 65535)
    publisher = at.client(inflight=min(allowed, 500))
    subscriber.sub(at.topic(), qos)
    infos = [publisher.start_pub(at.topic(), str(number), qos) for number in range(count)]
    found = [int(payload) for payload in subscriber.payloads(count)]
    assert found == list(range(count)), "not in the order of publishing"
    for info in infos:
        info.wait_for_publish(20)
    subscriber.got_nothing_else(publisher, at.topic(), qos)


@check(V311, V5)
def a_burst_of_500_stays_in_order_at_qos_0(at):
    in_order(at, 0, 500)


@check(V311, V5)
def a_burst_of_500_stays_in_order_at_qos_1(at):
    in_order(at, 1, 500)


@check(V311, V5)
def a_burst_of_500_stays_in_order_at_qos_2(at):
    in_order(at, 2, 500)


def of_size(at, size):
    payload = bytes(range(256)) * (size // 256)
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic(), 2)
    for qos in range(3):
        publisher.pub(at.topic(), payload, qos)
        message = subscriber.message()
        assert message.qos == qos
        assert len(message.payload) == size, len(message.payload)
        assert hashlib.sha256(message.payload).digest() == hashlib.sha256(payload).digest()


@check(V31, V311, V5)
def a_payload_may_be_empty(at):
    of_size(at, 0)


@check(V31, V311, V5)
def a_payload_of_1_mib(at):
    of_size(at, MIB)


@check(V311, V5)
def a_payload_of_10_mib(at):
    of_size(at, 10 * MIB)


@check(V31, V311, V5)
def topics_are_of_any_script(at):
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic("#"), 1)
    for name in ("温度/厨房", "Größe/ß", "דלת/حرارة", "🦀/🔥", " /a b", "𠀀", "é" * 1000, "//", "MiXeD", "$SYS"):
        publisher.pub(at.topic(name), name.encode(), 1)
        subscriber.got(at.topic(name), name.encode())


@check(V5)
def a_publish_that_reaches_nobody_is_acknowledged(at):
    client = at.client()
    for qos in (1, 2):
        client.pub(at.topic(), b"to nobody", qos)
        # 0x10, No matching subscribers, is allowed and not required.
        assert client.publish_reasons.get(timeout=20).value in (0x00, 0x10)


run()
