"""Shared subscriptions: each message to one member of the group."""

import collections
import queue

from paho.mqtt.subscribeoptions import SubscribeOptions

from check import check, run, wait_until


def members_of(at, count, group="g", qos=1, **options):
    members = [at.client(**options) for _ in range(count)]
    for member in members:
        assert member.sub(f"$share/{group}/{at.topic('#')}", qos) == qos
    return members


def drained(members):
    """What each member has got."""
    found = []
    for member in members:
        payloads = []
        while True:
            try:
                payloads.append(member.messages.get_nowait().payload)
            except queue.Empty:
                break
        found.append(payloads)
    return found


def gathered(members, count):
    shares = [[] for _ in members]

    def is_complete():
        for share, more in zip(shares, drained(members)):
            share += more
        return sum(map(len, shares)) >= count

    wait_until(is_complete, f"{count} messages among {len(members)} members")
    return shares


@check()
def each_message_reaches_one_member(at):
    members = members_of(at, 3)
    publisher = at.client()
    for number in range(90):
        publisher.pub(at.topic("a"), str(number), 1)
    shares = gathered(members, 90)
    counts = collections.Counter(payload for share in shares for payload in share)
    assert len(counts) == 90 and set(counts.values()) == {1}, "lost or sent twice"
    assert all(len(share) >= 10 for share in shares), f"badly shared: {[len(share) for share in shares]}"


@check()
def groups_and_plain_subscribers_each_get_all(at):
    first, second = members_of(at, 2, "one"), members_of(at, 2, "two")
    plain, publisher = at.client(), at.client()
    plain.sub(at.topic("#"), 1)
    for number in range(20):
        publisher.pub(at.topic("a"), str(number), 1)
    for members in (first, second):
        assert sorted(sum(gathered(members, 20), [])) == sorted(str(number).encode() for number in range(20))
    assert plain.payloads(20) == [str(number).encode() for number in range(20)]


@check()
def a_member_that_leaves_is_left_out(at):
    members = members_of(at, 2)
    publisher = at.client()
    members[0].unsub(f"$share/g/{at.topic('#')}")
    for number in range(10):
        publisher.pub(at.topic("a"), str(number), 1)
    assert members[1].payloads(10) == [str(number).encode() for number in range(10)]


@check()
def a_client_may_be_member_and_subscriber(at):
    client, publisher = at.client(), at.client()
    client.sub(at.topic("a"), 1, identifier=1)
    assert client.sub(f"$share/g/{at.topic('a')}", 1, identifier=2) == 1
    publisher.pub(at.topic("a"), b"x", 1)
    found = []
    while len(found) < 2:
        found += client.message().properties.SubscriptionIdentifier
    assert sorted(found) == [1, 2]


@check()
def a_shared_subscription_gets_no_retained_messages(at):
    publisher = at.client()
    publisher.pub(at.topic("a"), b"kept", 1, retain=True)
    member = members_of(at, 1)[0]
    member.got_nothing_else(publisher, at.topic("a"))  # 4.8.2


@check()
def what_a_member_did_not_acknowledge_is_not_lost(at):
    """A member gone for good leaves its unacknowledged messages to it or to another: 4.8.2."""
    careless = at.client("c", manual_ack=True, clean=False, SessionExpiryInterval=3600)
    careless.sub(f"$share/g/{at.topic('#')}", 1)
    publisher = at.client()
    publisher.pub(at.topic("a"), b"x", 1)
    careless.got(at.topic("a"), b"x")
    careless.cut()
    back = at.client("c", clean=False, SessionExpiryInterval=3600)
    back.got(at.topic("a"), b"x", qos=1)


@check()
def no_local_is_refused_for_a_shared_subscription(at):
    client = at.client()
    client.subscribe(f"$share/g/{at.topic()}", options=SubscribeOptions(1, noLocal=True))
    assert client.closed() == 0x82  # [MQTT-3.8.3-4]


run()
