"""The broker about itself: $SYS/broker/..., published every second here."""

from check import V5, V31, V311, check, run

# Mosquitto's names, with which its users' dashboards are made.
NUMBERS = """
clients/total clients/maximum clients/connected clients/disconnected clients/expired clients/active clients/inactive
messages/stored messages/received messages/sent store/messages/count store/messages/bytes subscriptions/count
shared_subscriptions/count heap/current heap/maximum bytes/received bytes/sent publish/bytes/received publish/bytes/sent
publish/messages/dropped publish/messages/received publish/messages/sent packet/out/count packet/out/bytes
connections/socket/count
""".split() + ["retained messages/count"]
LOADS = """
messages/received messages/sent publish/dropped publish/received publish/sent bytes/received bytes/sent sockets
connections
""".split()


@check(V31, V311, V5)
def version_and_uptime_are_there(at):
    client = at.client()
    client.sub("$SYS/broker/version")
    assert client.message().payload
    client.sub("$SYS/broker/uptime")
    first = client.message().payload
    assert int(first.split()[0]) >= 0, first
    while client.message().payload == first:
        pass


@check()
def every_name_of_mosquittos_is_there(at):
    names = NUMBERS + [f"load/{name}/{span}min" for name in LOADS for span in (1, 5, 15)]
    missing = {f"$SYS/broker/{name}" for name in names}
    client = at.client()
    client.sub("$SYS/#")
    rounds = 0
    while missing:
        message = client.message()
        if message.topic in missing:
            missing.remove(message.topic)
            float(message.payload)
        rounds += message.topic == "$SYS/broker/uptime"
        assert rounds < 4, f"missing: {sorted(missing)}"


@check()
def connected_clients_are_counted(at):
    client = at.client()
    others = [at.client() for _ in range(10)]
    client.sub("$SYS/broker/clients/connected")
    while int(client.message().payload) < 11:
        pass
    assert len(others) == 10


@check(V31, V311, V5)
def a_leading_wildcard_does_not_find_them(at):
    client = at.client()
    client.sub("#", 1)
    client.sub("+/broker/#", 1)
    uptime = at.client()
    uptime.sub("$SYS/broker/uptime")
    first = uptime.message().payload
    while uptime.message().payload == first:
        pass
    client.pub(at.topic(), b"the end", 1)
    while (message := client.message()).payload != b"the end":
        assert not message.topic.startswith("$"), message.topic  # [MQTT-4.7.2-1]


@check()
def nobody_else_publishes_there(at):
    client, witness = at.client(), at.client()
    witness.sub("$SYS/broker/version")
    witness.message()
    witness.sub(at.topic(), 1)
    liar = at.client()
    liar.start_pub("$SYS/broker/version", b"Mosquitto", 1, retain=True)
    # Refused in the PUBACK, or with the connection; or taken and dropped.
    client.pub(at.topic(), b"the end", 1)
    while (message := witness.message()).payload != b"the end":
        assert message.payload != b"Mosquitto"


run()
