"""Topic aliases, of the client's and of the broker's choice."""

from check import check, run


@check()
def a_publisher_may_use_aliases(at):
    subscriber, publisher = at.client(), at.client()
    allowed = getattr(publisher.connack, "TopicAliasMaximum", 0)
    assert allowed > 0, "the broker takes no topic aliases"
    subscriber.sub(at.topic("#"), 2)
    for qos in range(3):
        publisher.pub(at.topic("a"), b"1", qos, TopicAlias=1)
        publisher.pub(at.topic("b"), b"2", qos, TopicAlias=allowed)
        publisher.pub("", b"3", qos, TopicAlias=1)
        publisher.pub("", b"4", qos, TopicAlias=allowed)
        publisher.pub(at.topic("c"), b"5", qos, TopicAlias=1)
        publisher.pub("", b"6", qos, TopicAlias=1)
        for path, payload in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", b"4"), ("c", b"5"), ("c", b"6")):
            message = subscriber.got(at.topic(path), payload, qos=qos)
            assert not hasattr(message.properties, "TopicAlias")  # The subscriber allows none.


@check()
def an_alias_lasts_as_long_as_its_connection(at):
    first = at.client("c", clean=False, SessionExpiryInterval=60)
    first.pub(at.topic(), b"", 1, TopicAlias=1)
    first.cut()
    again = at.client("c", clean=False, SessionExpiryInterval=60)
    again.start_pub("", b"", 0, TopicAlias=1)
    assert again.closed() == 0x82  # 3.3.2.3.4: a Protocol Error


@check()
def an_alias_beyond_the_maximum_is_refused(at):
    client = at.client()
    client.start_pub(at.topic(), b"", 0, TopicAlias=client.connack.TopicAliasMaximum + 1)
    assert client.closed() == 0x94  # [MQTT-3.3.2-9]


@check()
def the_broker_uses_aliases_within_the_clients_maximum(at):
    subscriber, publisher = at.client(TopicAliasMaximum=2), at.client()
    subscriber.sub(at.topic("#"), 2)
    paths = ["a", "b", "a", "c", "b", "a", "a", "c"] * 3
    for path in paths:
        publisher.pub(at.topic(path), path.encode(), 1)
    aliases = {}
    for path in paths:
        message = subscriber.message()
        alias, topic = getattr(message.properties, "TopicAlias", None), message.topic
        assert alias is None or 1 <= alias <= 2, alias  # [MQTT-3.1.2-26]
        if topic:
            aliases[alias] = topic
        assert (topic or aliases.get(alias)) == at.topic(path)
        assert message.payload == path.encode()


run()
