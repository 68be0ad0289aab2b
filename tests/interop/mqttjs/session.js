// Sessions, takeover, and mqtt.js connecting again by itself.
"use strict";

const { assert, check, runAll } = require("./check.js");

const kept = (at) => ({
  clientId: `${at.root}-c`,
  clean: false,
  ...(at.version === 5 && { properties: { sessionExpiryInterval: 3600 } }),
});

check("messages wait for a client that is away", [4, 5], async (at) => {
  const away = await at.client(kept(at));
  assert.equal(away.connack.sessionPresent, false);
  await away.sub(at.topic(), { qos: 2 });
  await away.leave();
  const publisher = await at.client();
  for (let number = 0; number < 50; number++) await publisher.pub(at.topic(), `${number}`, { qos: 1 + (number % 2) });
  const back = await at.client(kept(at));
  assert.equal(back.connack.sessionPresent, true);
  const found = [];
  for (let number = 0; number < 50; number++) found.push(await back.next("message"));
  // A message of QoS 2 is handed out at its PUBREL, perhaps after later ones of QoS 1.
  for (const qos of [1, 2]) {
    const numbers = found.filter((message) => message.qos === qos).map((message) => Number(message.payload));
    assert.deepEqual(numbers, [...Array(25).keys()].map((half) => 2 * half + qos - 1));
  }
  await back.gotNothingElse(publisher, at.topic());
});

check("it connects again by itself and has its session", [4, 5], async (at) => {
  const client = await at.client({ ...kept(at), reconnectPeriod: 1, resubscribe: false });
  await client.sub(at.topic(), { qos: 1 });
  await client.cut();
  const publisher = await at.client();
  await publisher.pub(at.topic(), "meanwhile", { qos: 1 });
  assert.equal((await client.next("connect")).sessionPresent, true);
  await client.got(at.topic(), "meanwhile", { qos: 1 });
});

check("a publish that the cut interrupts is done after it", [4, 5], async (at) => {
  const subscriber = await at.client();
  await subscriber.sub(at.topic(), { qos: 2 });
  const client = await at.client({ ...kept(at), reconnectPeriod: 1 });
  const published = [0, 1, 2, 3].map((number) => client.pub(at.topic(), `${number}`, { qos: 2 }));
  await client.cut();
  await Promise.all(published);
  for (const number of [0, 1, 2, 3]) await subscriber.got(at.topic(), `${number}`, { qos: 2 });
  await subscriber.gotNothingElse(client, at.topic());
});

check("a clean start forgets", [4, 5], async (at) => {
  await (await at.client(kept(at))).leave();
  assert.equal((await at.client({ ...kept(at), clean: true })).connack.sessionPresent, false);
});

check("a second connection takes over", [5], async (at) => {
  const first = await at.client(kept(at));
  const second = await at.client(kept(at));
  assert.equal((await first.next("disconnect")).reasonCode, 0x8e);
  assert.equal(second.connack.sessionPresent, true);
});

check("a second connection takes over", [4], async (at) => {
  const first = await at.client(kept(at));
  await at.client(kept(at));
  await first.next("close");
});

check("an assigned identifier", [5], async (at) => {
  const client = await at.client({ clientId: "" });
  assert.ok(client.connack.properties.assignedClientIdentifier);
});

runAll();
