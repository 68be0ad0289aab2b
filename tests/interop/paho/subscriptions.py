"""Filters, and what MQTT 5.0 lets a subscription ask for."""

from paho.mqtt.subscribeoptions import SubscribeOptions

from check import V5, V31, V311, check, run


@check(V31, V311, V5)
def wildcards_match_levels(at):
    publisher = at.client()
    cases = [
        ("a/b", ["a/b"], ["a", "a/b/c", "A/b", "/a/b"]),
        ("a/+", ["a/b", "a/", "a/$x"], ["a", "a/b/c"]),
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/b/c"]),
        ("+", ["a", "b"], ["a/b"]),
        ("+/+", ["a/b", "/", "/b"], ["a"]),
        ("a/#", ["a", "a/", "a/b/c"], ["b", "ab"]),
        ("+/b/#", ["a/b", "a/b/c/d"], ["b", "a"]),
        ("#", ["", "a", "a/b/c"], []),
    ]
    for filter, matching, others in cases:
        subscriber = at.client()
        subscriber.sub(at.topic(filter), 1)
        for topic in matching + others:
            publisher.pub(at.topic(topic), topic.encode(), 1)
        for topic in matching:
            subscriber.got(at.topic(topic), topic.encode())
        subscriber.got_nothing_else(publisher, at.topic(matching[0]))
        subscriber.leave()


@check(V31, V311, V5)
def unsubscribed_is_not_heard(at):
    client = at.client()
    client.sub(at.topic("a"), 1)
    client.sub(at.topic("b"), 1)
    client.unsub(at.topic("a"))
    client.pub(at.topic("a"), b"gone", 1)
    client.got_nothing_else(client, at.topic("b"))


@check(V31, V311, V5)
def several_filters_in_one_packet(at):
    client = at.client()
    if at.version == V5:
        client.subscribe([(at.topic("a"), SubscribeOptions(2)), (at.topic("b"), SubscribeOptions(0))])
    else:
        client.subscribe([(at.topic("a"), 2), (at.topic("b"), 0)])
    assert [reason.value for reason in client.acks.get(timeout=20)] == [2, 0]
    client.pub(at.topic("a"), b"1", 2)
    client.got(at.topic("a"), b"1", qos=2)
    client.pub(at.topic("b"), b"2", 2)
    client.got(at.topic("b"), b"2", qos=0)


@check(V31, V311, V5)
def subscribing_again_replaces(at):
    client = at.client()
    assert client.sub(at.topic(), 0) == 0
    assert client.sub(at.topic(), 2) == 2
    client.pub(at.topic(), b"once", 2)
    client.got(at.topic(), b"once", qos=2)
    client.got_nothing_else(client, at.topic())


@check(V31, V311, V5)
def overlapping_filters_deliver_at_the_highest_qos(at):
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic("#"), 0)
    subscriber.sub(at.topic("a"), 2)
    subscriber.sub(at.topic("+"), 1)
    copies = []
    for payload in (b"one copy", b"the end"):
        publisher.pub(at.topic("a"), payload, 2)
        while True:
            message = subscriber.message()
            copies.append(bytes(message.payload))
            if (message.payload, message.qos) == (payload, 2):
                break
    # Or one of each subscription: [MQTT-3.3.4-2].
    assert 1 <= copies.count(b"one copy") <= 3, copies


@check()
def identifiers_come_with_the_messages(at):
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic("a"), 1, identifier=7)
    subscriber.sub(at.topic("+/x"), 1, identifier=268_435_455)
    subscriber.sub(at.topic("b"), 1)
    publisher.pub(at.topic("a"), b"", 1)
    assert subscriber.message().properties.SubscriptionIdentifier == [7]
    publisher.pub(at.topic("b/x"), b"", 1)
    assert subscriber.message().properties.SubscriptionIdentifier == [268_435_455]
    publisher.pub(at.topic("b"), b"", 1)
    assert not hasattr(subscriber.message().properties, "SubscriptionIdentifier")


@check()
def overlapping_subscriptions_tell_all_identifiers(at):
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic("a"), 1, identifier=1)
    subscriber.sub(at.topic("#"), 1, identifier=2)
    publisher.pub(at.topic("a"), b"", 1)
    found = []
    while len(found) < 2:
        found += subscriber.message().properties.SubscriptionIdentifier
    assert sorted(found) == [1, 2], found  # [MQTT-3.3.4-4]
    subscriber.got_nothing_else(publisher, at.topic("c"))


@check()
def an_identifier_is_replaced(at):
    client = at.client()
    client.sub(at.topic(), 1, identifier=1)
    client.sub(at.topic(), 1, identifier=2)
    client.pub(at.topic(), b"", 1)
    assert client.message().properties.SubscriptionIdentifier == [2]


@check()
def no_local_keeps_ones_own_away(at):
    client, other = at.client(), at.client()
    client.sub(at.topic(), 1, noLocal=True)
    client.pub(at.topic(), b"my own", 1)
    client.got_nothing_else(other, at.topic())


@check()
def retain_as_published_keeps_the_flag(at):
    keeps, clears, publisher = at.client(), at.client(), at.client()
    keeps.sub(at.topic(), 1, retainAsPublished=True)
    clears.sub(at.topic(), 1)
    for retain in (True, False):
        publisher.pub(at.topic(), b"x", 1, retain=retain)
        keeps.got(at.topic(), b"x", retain=retain)
        clears.got(at.topic(), b"x", retain=False)


@check()
def retain_handling_0_sends_always(at):
    client = at.client()
    client.pub(at.topic(), b"kept", 1, retain=True)
    for _ in range(2):
        client.sub(at.topic(), 1, retainHandling=0)
        client.got(at.topic(), b"kept", retain=True)


@check()
def retain_handling_1_sends_to_a_new_subscription(at):
    client = at.client()
    client.pub(at.topic(), b"kept", 1, retain=True)
    client.sub(at.topic(), 1, retainHandling=1)
    client.got(at.topic(), b"kept", retain=True)
    client.sub(at.topic(), 1, retainHandling=1)
    client.got_nothing_else(client, at.topic())


@check()
def retain_handling_2_sends_nothing(at):
    client = at.client()
    client.pub(at.topic(), b"kept", 1, retain=True)
    client.sub(at.topic(), 1, retainHandling=2)
    client.got_nothing_else(client, at.topic())


run()
