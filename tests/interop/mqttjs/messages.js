// Messages: QoS, sizes, retained, wills, properties.
"use strict";

const { assert, check, runAll } = require("./check.js");

check("each QoS arrives at the lesser of published and granted", [4, 5], async (at) => {
  const [subscriber, publisher] = [await at.client(), await at.client()];
  for (const granted of [0, 1, 2]) {
    assert.equal(await subscriber.sub(at.topic(), { qos: granted }), granted);
    for (const qos of [0, 1, 2]) {
      await publisher.pub(at.topic(), `${qos} to ${granted}`, { qos });
      await subscriber.got(at.topic(), `${qos} to ${granted}`, { qos: Math.min(qos, granted) });
    }
  }
});

check("payloads of 0 bytes and of 1 MiB", [4, 5], async (at) => {
  const [subscriber, publisher] = [await at.client(), await at.client()];
  await subscriber.sub(at.topic(), { qos: 2 });
  for (const payload of [Buffer.alloc(0), Buffer.alloc(1 << 20, "0123456789abcdef!")]) {
    for (const qos of [0, 1, 2]) {
      await publisher.pub(at.topic(), payload, { qos });
      await subscriber.got(at.topic(), payload, { qos });
    }
  }
});

for (const qos of [0, 1, 2]) {
  check(`a burst of QoS ${qos} stays in order`, [4, 5], async (at) => {
    const [subscriber, publisher] = [await at.client(), await at.client()];
    // mqtt.js does not look at it.
    assert.ok((publisher.connack.properties?.receiveMaximum ?? 65535) >= 300, "Receive Maximum");
    await subscriber.sub(at.topic(), { qos });
    const numbers = [...Array(300).keys()];
    const published = numbers.map((number) => publisher.pub(at.topic(), `${number}`, { qos }));
    for (const number of numbers) await subscriber.got(at.topic(), `${number}`, { qos });
    await Promise.all(published);
  });
}

check("retained: set, got, cleared", [4, 5], async (at) => {
  const publisher = await at.client();
  await publisher.pub(at.topic(), "kept", { qos: 1, retain: true });
  const subscriber = await at.client();
  await subscriber.sub(at.topic(), { qos: 1 });
  await subscriber.got(at.topic(), "kept", { qos: 1, retain: true });
  await publisher.pub(at.topic(), "", { qos: 1, retain: true });
  const late = await at.client();
  await late.sub(at.topic(), { qos: 1 });
  await late.gotNothingElse(publisher, at.topic());
});

check("a will is sent when the connection breaks, not after a DISCONNECT", [4, 5], async (at) => {
  const witness = await at.client();
  await witness.sub(at.topic("#"), { qos: 1 });
  const will = (name) => ({ topic: at.topic(name), payload: "gone", qos: 1 });
  await (await at.client({ will: will("polite") })).leave();
  await witness.gotNothingElse(await at.client(), at.topic("a"));
  await (await at.client({ will: will("rude") })).cut();
  await witness.got(at.topic("rude"), "gone", { qos: 1 });
});

check("wildcards, unsubscribing", [4, 5], async (at) => {
  const client = await at.client();
  await client.sub(at.topic("+/温度"), { qos: 1 });
  await client.sub(at.topic("end"), { qos: 1 });
  await client.pub(at.topic("厨房/温度"), "21", { qos: 1 });
  await client.got(at.topic("厨房/温度"), "21");
  await client.mqtt.unsubscribeAsync(at.topic("+/温度"));
  await client.pub(at.topic("厨房/温度"), "22", { qos: 1 });
  await client.gotNothingElse(client, at.topic("end"));
});

check("properties are passed on", [5], async (at) => {
  const client = await at.client();
  await client.sub(at.topic(), { qos: 1, properties: { subscriptionIdentifier: 300 } });
  const properties = {
    payloadFormatIndicator: true,
    contentType: "application/json",
    responseTopic: at.topic("answer"),
    correlationData: Buffer.from([0, 1, 255]),
    userProperties: { a: ["1", "2"], b: "3" },
  };
  await client.pub(at.topic(), "{}", { qos: 1, properties });
  const found = { ...(await client.got(at.topic(), "{}")).properties, userProperties: undefined };
  assert.deepEqual(found, { ...properties, userProperties: undefined, subscriptionIdentifier: 300 });
});

check("user properties are passed on", [5], async (at) => {
  const client = await at.client();
  await client.sub(at.topic(), { qos: 1 });
  const userProperties = { a: ["1", "2"], b: "3" };
  await client.pub(at.topic(), "", { qos: 1, properties: { userProperties } });
  assert.deepEqual({ ...(await client.next("message")).properties.userProperties }, userProperties);
});

check("topic aliases, chosen by the client and by the broker", [5], async (at) => {
  const properties = { topicAliasMaximum: 5 };
  const [subscriber, publisher] = [
    await at.client({ properties }),
    await at.client({ autoAssignTopicAlias: true, autoUseTopicAlias: true }),
  ];
  await subscriber.sub(at.topic("#"), { qos: 1 });
  for (const path of ["a", "b", "a", "b", "c", "a"]) {
    await publisher.pub(at.topic(path), path, { qos: 1 });
    await subscriber.got(at.topic(path), path, { qos: 1 });
  }
});

check("shared subscriptions", [5], async (at) => {
  const members = [await at.client(), await at.client()];
  for (const member of members) await member.sub(`$share/g/${at.topic()}`, { qos: 1 });
  const publisher = await at.client();
  const got = [];
  const all = new Promise((resolve) =>
    members.forEach((member) =>
      member.mqtt.on("message", (_, payload) => {
        if (got.push(Number(payload)) === 20) resolve();
      }),
    ),
  );
  for (let number = 0; number < 20; number++) await publisher.pub(at.topic(), `${number}`, { qos: 1 });
  await all;
  assert.deepEqual(got.sort((a, b) => a - b), [...Array(20).keys()]);
});

runAll();
