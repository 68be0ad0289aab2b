"""Who comes in: ada with what opens (RIGHT in the environment), and nobody else."""

import os

from check import V5, V31, V311, check, run

RIGHT, WRONG = os.environ["RIGHT"], os.environ["WRONG"]

REFUSED = {V31: 0x86, V311: 0x86, V5: 0x86}  # paho has the codes of 5.0 for the older versions, too.


def login(at, user, password):
    client = at.prepared()
    client.username_pw_set(user, password)
    return client.connected()


@check(V31, V311, V5)
def ada_comes_in(at):
    client = at.prepared()
    client.username_pw_set("ada", RIGHT)
    assert client.connected() == 0
    client.sub(at.topic(), 1)
    client.pub(at.topic(), b"here", 1)
    client.got(at.topic(), b"here", qos=1)


@check(V31, V311, V5)
def what_is_wrong_does_not_open(at):
    assert login(at, "ada", WRONG) == REFUSED[at.version]


@check(V31, V311, V5)
def somebody_else_does_not_come_in_with_it(at):
    assert login(at, "eve", RIGHT) == REFUSED[at.version]


@check(V31, V311, V5)
def nobody_does_not_come_in(at):
    assert at.prepared().connected() == 0x87


run()
