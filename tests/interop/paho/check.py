"""What every theme uses: checks that run side by side, and a paho client whose every call waits for the broker's answer.

A theme is run with the broker's address: `python3 will.py mqtt://127.0.0.1:1883`, or mqtts, ws or wss (with CA, the file
of who signed its certificate, in the environment). It prints a line a check.
"""

import itertools
import os
import queue
import socket
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

V31, V311, V5 = mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5
VERSIONS = {V31: "3.1", V311: "3.1.1", V5: "5.0"}

# For what happens at once on a machine that is not overloaded.
TIMEOUT_SECS = 20
SIDE_BY_SIDE = 8

_checks = []
_serial = itertools.count(1)


def check(*versions):
    """Registers a check, of MQTT 5.0 or once for each of the versions."""

    def register(function):
        for version in versions or (V5,):
            _checks.append((function, version))
        return function

    return register


def run():
    """Runs the file's checks. Says which failed, and where."""
    address = urlsplit(sys.argv[1])
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        failed = list(pool.map(lambda one: _try(address, *one), _checks))
    sys.exit(1 if any(failed) else 0)


def _try(address, function, version):
    name = f"{function.__name__.replace('_', ' ')} ({VERSIONS[version]})"
    place = Place(address, version)
    began = time.monotonic()
    try:
        function(place)
    except BaseException:
        print(f"FAILED  {name}\n{traceback.format_exc()}", end="", flush=True)
        return True
    finally:
        place.close()
    print(f"ok      {name}: {time.monotonic() - began:.1f} s", flush=True)
    return False


class Place:
    """A check's own topics and clients, so that checks do not meet."""

    def __init__(self, address, version):
        self.url = address
        self.address = (address.hostname, address.port)
        self.version = version
        self.root = f"i{os.getpid()}-{next(_serial)}"
        self.clients = []

    def topic(self, path="t"):
        return f"{self.root}/{path}"

    def id(self, name="c"):
        # 23 characters are all that MQTT 3.1 allows.
        return f"{self.root}-{name}"

    def client(self, name=None, **options):
        """A connected client."""
        client = self.prepared(name, **options)
        client.connected()
        return client

    def prepared(self, name=None, version=None, **options):
        """A client that `connected` connects. Without a name it gets an identifier of its own."""
        identifier = self.id(name or f"{next(_serial)}")
        client = Client(self.url, identifier, version or self.version, **options)
        self.clients.append(client)
        return client

    def close(self):
        for client in self.clients:
            client.cut()


class Client(mqtt.Client):
    def __init__(self, url, identifier, version, clean=True, will=None, keep_alive=60, inflight=20, manual_ack=False, **properties):
        session = {} if version == V5 else {"clean_session": clean}
        super().__init__(
            CallbackAPIVersion.VERSION2,
            identifier,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
            **session,
        )
        if url.scheme in ("ws", "wss"):
            self.ws_set_options(url.path)
        if url.scheme in ("mqtts", "wss"):
            self.tls_set(os.environ["CA"])
        self.address = (url.hostname, url.port)
        self.version, self.clean, self.keep_alive_secs = version, clean, keep_alive
        self.connect_properties = properties
        self.messages, self.acks, self.closings = queue.Queue(), queue.Queue(), queue.Queue()
        self.connacks, self.publish_reasons = queue.Queue(), queue.Queue()
        self.closing_code = None
        self.max_inflight_messages_set(inflight)
        if will:
            self.will_set(**will)

        self.on_message = lambda _client, _data, message: self.messages.put(message)
        self.on_connect = lambda _client, _data, flags, reason, found: self.connacks.put((flags, reason, found))
        self.on_subscribe = lambda _client, _data, _mid, reasons, _found: self.acks.put(reasons)
        self.on_unsubscribe = self.on_subscribe
        self.on_publish = lambda _client, _data, _mid, reason, _found: self.publish_reasons.put(reason)
        self.on_disconnect = lambda *_: self.closings.put(self.closing_code)

    def _handle_disconnect(self):
        # paho tells the reason only where properties follow it.
        packet = self._in_packet["packet"]
        self.closing_code = packet[0] if packet else 0
        super()._handle_disconnect()

    def connected(self):
        """Connects, and says the CONNACK's reason code."""
        options = {"clean_start": self.clean, "properties": properties(PacketTypes.CONNECT, self.connect_properties)}
        self.connect(*self.address, self.keep_alive_secs, **options if self.version == V5 else {})
        self.loop_start()
        flags, reason, self.connack = within(self.connacks, "CONNACK")
        self.session_present = flags.session_present
        return reason.value

    def sub(self, topic, qos=0, identifier=None, **options):
        """Subscribes, and says the SUBACK's code."""
        if self.version == V5:
            given = {"SubscriptionIdentifier": identifier} if identifier else {}
            result, _ = self.subscribe(
                topic, options=SubscribeOptions(qos, **options), properties=properties(PacketTypes.SUBSCRIBE, given)
            )
        else:
            result, _ = self.subscribe(topic, qos)
        assert result == mqtt.MQTT_ERR_SUCCESS, result
        return within(self.acks, "SUBACK")[0].value

    def unsub(self, topic):
        self.unsubscribe(topic)
        within(self.acks, "UNSUBACK")

    def pub(self, topic, payload=b"", qos=0, retain=False, **given):
        """Publishes; of QoS 1 and 2 it waits for the end of the exchange."""
        info = self.start_pub(topic, payload, qos, retain, **given)
        if qos > 0:
            info.wait_for_publish(TIMEOUT_SECS)
            assert info.is_published(), f"no acknowledgement of a QoS {qos} publish within {TIMEOUT_SECS} s"

    def start_pub(self, topic, payload=b"", qos=0, retain=False, **given):
        found = properties(PacketTypes.PUBLISH, given) if self.version == V5 else None
        return self.publish(topic, payload, qos, retain, found)

    def message(self):
        return within(self.messages, "message")

    def payloads(self, count):
        return [self.message().payload for _ in range(count)]

    def got(self, topic, payload, qos=None, retain=None):
        """The next message is this one."""
        message = self.message()
        found = (message.topic, bytes(message.payload))
        assert found == (topic, payload), f"{short(found)} instead of {short((topic, payload))}"
        assert qos is None or message.qos == qos, f"QoS {message.qos} instead of {qos}"
        assert retain is None or message.retain == retain, f"retain {message.retain} instead of {retain}"
        return message

    def got_nothing_else(self, publisher, topic, qos=1):
        """What the publisher sends now, to a topic that this client is subscribed to, is the next that arrives."""
        publisher.pub(topic, b"the end", qos)
        message = self.message()
        assert message.payload == b"the end", f"{short((message.topic, message.payload))} should not have come"

    def leave(self, reason=0, **given):
        """Says goodbye, and waits until the broker has heard it. paho would close, and not see that the broker does."""
        packed = properties(PacketTypes.DISCONNECT, given).pack()
        rest = bytes([reason]) + packed if self.version == V5 else b""
        self.raw(b"\xe0" + bytes([len(rest)]) + rest)
        self.closed()

    def raw(self, sent):
        """Sends what paho would not, from its own thread: no two may speak TLS, or WebSocket, on one connection."""
        self._packet_queue(mqtt.PINGREQ, bytearray(sent), 0, 0)

    def cut(self):
        """The network breaks, without a DISCONNECT."""
        try:
            getattr(self.socket(), "_socket", self.socket()).shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass  # It is closed already.

    def closed(self):
        """Waits until the broker closes the connection: the code of its DISCONNECT, None where it sent none."""
        return within(self.closings, "end of the connection")


def within(source, what):
    try:
        return source.get(timeout=TIMEOUT_SECS)
    except queue.Empty:
        raise AssertionError(f"no {what} within {TIMEOUT_SECS} s") from None


def properties(packet_type, given):
    found = Properties(packet_type)
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            setattr(found, name, one)
    return found


def will_properties(**given):
    return properties(PacketTypes.WILLMESSAGE, given)


def wait_until(holds, what):
    """For what the broker tells nobody of."""
    end = time.monotonic() + TIMEOUT_SECS
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {TIMEOUT_SECS} s"
        time.sleep(0.05)


def short(found):
    text = repr(found)
    return text if len(text) < 200 else f"{text[:200]}... ({len(text)} characters)"
