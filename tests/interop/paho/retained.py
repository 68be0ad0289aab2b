"""Retained messages: set, got, replaced, cleared, expired."""

from check import V5, V31, V311, check, run, wait_until


@check(V31, V311, V5)
def a_retained_message_meets_a_new_subscriber(at):
    publisher = at.client()
    for qos in range(3):
        topic = at.topic(f"{qos}")
        publisher.pub(topic, b"kept", qos, retain=True)
        publisher.pub(topic, b"kept, too", qos, retain=True)
    # Of QoS 0 nothing says that it was taken, but for what came later on the same connection.
    publisher.pub(at.topic("fence"), b"", 2)
    for qos in range(3):
        subscriber = at.client()
        subscriber.sub(at.topic(f"{qos}"), 2)
        subscriber.got(at.topic(f"{qos}"), b"kept, too", qos=qos, retain=True)
        publisher.pub(at.topic(f"{qos}"), b"live", qos, retain=True)
        subscriber.got(at.topic(f"{qos}"), b"live", qos=qos, retain=False)


@check(V31, V311, V5)
def an_empty_payload_clears(at):
    client = at.client()
    client.sub(at.topic(), 1)
    client.pub(at.topic(), b"kept", 1, retain=True)
    client.got(at.topic(), b"kept", retain=False)
    client.pub(at.topic(), b"", 1, retain=True)
    client.got(at.topic(), b"", retain=False)
    late = at.client()
    late.sub(at.topic(), 1)
    late.got_nothing_else(client, at.topic())


@check(V31, V311, V5)
def wildcards_find_every_retained_message(at):
    publisher, subscriber = at.client(), at.client()
    topics = {at.topic(f"room/{number}/temperature") for number in range(50)}
    for topic in topics:
        publisher.pub(topic, topic.encode(), 1, retain=True)
    subscriber.sub(at.topic("room/+/temperature"), 1)
    messages = [subscriber.message() for _ in topics]
    assert {message.topic for message in messages} == topics
    assert all(message.retain and message.payload == message.topic.encode() for message in messages)
    subscriber.got_nothing_else(publisher, at.topic("room/a/temperature"))


@check(V31, V311, V5)
def not_retained_is_not_kept(at):
    publisher, subscriber = at.client(), at.client()
    publisher.pub(at.topic(), b"kept", 1, retain=True)
    publisher.pub(at.topic(), b"not kept", 1)
    subscriber.sub(at.topic(), 1)
    subscriber.got(at.topic(), b"kept", retain=True)
    subscriber.got_nothing_else(publisher, at.topic())


@check()
def what_is_published_after_the_suback_comes_once(at):
    """The new subscription's look at what is retained must not find what it gets live."""
    publisher, subscribers = at.client(), [at.client() for _ in range(4)]
    for number in range(60):
        topic = at.topic(f"{number}")
        for subscriber in subscribers:
            subscriber.sub(topic, 1)
        publisher.pub(topic, b"new", 1, retain=True)
        publisher.pub(topic, b"the end", 1)
        for subscriber in subscribers:
            subscriber.got(topic, b"new", retain=False)
            subscriber.got(topic, b"the end", retain=False)


@check()
def a_retained_message_keeps_its_properties(at):
    client = at.client()
    client.pub(at.topic(), b"{}", 1, retain=True, ContentType="application/json", UserProperty=[("a", "1"), ("a", "2")])
    client.sub(at.topic(), 1)
    found = client.got(at.topic(), b"{}", retain=True).properties
    assert found.ContentType == "application/json"
    assert found.UserProperty == [("a", "1"), ("a", "2")]


@check()
def a_retained_message_expires(at):
    client = at.client()
    client.pub(at.topic(), b"kept for a second", 1, retain=True, MessageExpiryInterval=1)

    def is_gone():
        client.sub(at.topic(), 1)
        client.pub(at.topic(), b"the end", 1)
        is_kept = client.message().payload != b"the end"
        if is_kept:
            client.got(at.topic(), b"the end")
        return not is_kept

    wait_until(is_gone, "a message that expires after a second is gone")


run()
