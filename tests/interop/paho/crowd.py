"""200 clients at once."""

from concurrent.futures import ThreadPoolExecutor

from check import V5, V31, V311, check, run

CROWD = 200


@check()
def everybody_hears_everybodys_neighbour_and_the_crier(at):
    with ThreadPoolExecutor(16) as pool:
        everybody = list(pool.map(lambda number: at.client(version=(V31, V311, V5)[number % 3]), range(CROWD)))
        list(pool.map(lambda one: (one.sub(at.topic("all"), 1), one.sub(at.topic(one._client_id.decode()), 2)), everybody))

        def greet(number):
            neighbour = everybody[(number + 1) % CROWD]
            for qos in range(3):
                everybody[number].pub(at.topic(neighbour._client_id.decode()), f"{number}/{qos}", qos)

        list(pool.map(greet, range(CROWD)))

    everybody[0].pub(at.topic("all"), b"hear me", 1)
    for number, one in enumerate(everybody):
        before = (number - 1) % CROWD
        # The order of different topics is nobody's promise.
        found = sorted(one.payloads(4))
        assert found == sorted([b"hear me", *(f"{before}/{qos}".encode() for qos in range(3))]), found

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda one: one.leave(), everybody))


run()
