"""What a publisher of MQTT 5.0 says about its message reaches the subscriber unchanged."""

from check import V311, check, run


@check()
def properties_are_passed_on(at):
    subscriber, publisher = at.client(), at.client()
    subscriber.sub(at.topic(), 2)
    pairs = [("b", "2"), ("a", "1"), ("a", "1"), ("", ""), ("schlüssel", "🔑")]
    for qos in range(3):
        publisher.pub(
            at.topic(),
            b"{}",
            qos,
            PayloadFormatIndicator=1,
            ContentType="application/json",
            ResponseTopic=at.topic("answer"),
            CorrelationData=bytes(range(256)),
            UserProperty=pairs,
        )
        found = subscriber.got(at.topic(), b"{}", qos=qos).properties
        assert found.PayloadFormatIndicator == 1
        assert found.ContentType == "application/json"
        assert found.ResponseTopic == at.topic("answer")
        assert found.CorrelationData == bytes(range(256))
        assert found.UserProperty == pairs, found.UserProperty  # [MQTT-3.3.2-18]


@check()
def what_was_not_said_is_not_made_up(at):
    client = at.client()
    client.sub(at.topic(), 1)
    client.pub(at.topic(), b"", 1)
    assert client.message().properties.json() == {}


@check()
def a_request_is_answered(at):
    asker, answerer = at.client(), at.client()
    answerer.sub(at.topic("question"), 1)
    asker.sub(at.topic("answer"), 1)
    asker.pub(at.topic("question"), b"6*7", 1, ResponseTopic=at.topic("answer"), CorrelationData=b"42?")
    question = answerer.got(at.topic("question"), b"6*7").properties
    answerer.pub(question.ResponseTopic, b"42", 1, CorrelationData=question.CorrelationData)
    assert asker.got(at.topic("answer"), b"42").properties.CorrelationData == b"42?"


@check()
def message_expiry_arrives_with_what_is_left(at):
    client = at.client()
    client.sub(at.topic(), 1)
    client.pub(at.topic(), b"", 1, MessageExpiryInterval=1000)
    assert 980 <= client.message().properties.MessageExpiryInterval <= 1000


@check()
def an_older_client_gets_the_message_without_them(at):
    old, new = at.client(version=V311), at.client()
    old.sub(at.topic(), 1)
    new.pub(at.topic(), b"x", 1, UserProperty=[("a", "b")], ContentType="text/plain")
    old.got(at.topic(), b"x", qos=1)


@check()
def many_user_properties_are_passed_on(at):
    client = at.client()
    client.sub(at.topic(), 1)
    pairs = [(f"key {number}", "v" * number) for number in range(300)]
    client.pub(at.topic(), b"", 1, UserProperty=pairs)
    assert client.message().properties.UserProperty == pairs


run()
