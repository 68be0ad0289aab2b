// Who comes in: ada with what opens (RIGHT in the environment), and nobody else.
"use strict";

const { assert, check, runAll } = require("./check.js");

const { RIGHT, WRONG } = process.env;

check("ada comes in", [4, 5], async (at) => {
  const client = await at.client({ username: "ada", password: RIGHT });
  await client.sub(at.topic(), { qos: 1 });
  await client.pub(at.topic(), "here", { qos: 1 });
  await client.got(at.topic(), "here", { qos: 1 });
});

for (const [who, username, password] of [
  ["what is wrong does not open", "ada", WRONG],
  ["somebody else does not come in with it", "eve", RIGHT],
  ["nobody does not come in", undefined, undefined],
]) {
  check(who, [4, 5], async (at) => {
    const codes = password === undefined ? { 4: 5, 5: 0x87 } : { 4: 4, 5: 0x86 };
    assert.equal(await at.refusal({ username, password }), codes[at.version]);
  });
}

runAll();
