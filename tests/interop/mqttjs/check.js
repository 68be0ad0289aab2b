// What every theme uses: checks that run side by side, and mqtt.js clients that wait for the broker's answers.
//
// A theme is run with the broker's address: `node messages.js mqtt://127.0.0.1:1883`, or mqtts, ws or wss (with CA, the file
// of who signed its certificate, in the environment). It prints a line a check.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const mqtt = require("mqtt");

const TIMEOUT_MS = 20_000;
const VERSIONS = { 4: "3.1.1", 5: "5.0" };

const url = process.argv[2];
const ca = process.env.CA && fs.readFileSync(process.env.CA);
const checks = [];
let serial = 0;

/** Registers a check, once for each of the versions. */
function check(name, versions, run) {
  for (const version of versions) checks.push({ name: `${name} (${VERSIONS[version]})`, version, run });
}

async function runAll() {
  const results = await Promise.all(
    checks.map(async ({ name, version, run }) => {
      const place = new Place(version);
      try {
        await run(place);
        console.log(`ok      ${name}`);
        return true;
      } catch (error) {
        console.log(`FAILED  ${name}\n${error.stack}`);
        return false;
      } finally {
        place.clients.forEach((client) => client.mqtt.end(true));
      }
    }),
  );
  process.exit(results.every(Boolean) ? 0 : 1);
}

/** A check's own topics and clients, so that checks do not meet. */
class Place {
  constructor(version) {
    this.version = version;
    this.root = `js${process.pid}-${++serial}`;
    this.clients = [];
  }

  topic(path = "t") {
    return `${this.root}/${path}`;
  }

  /** A connected client. */
  async client(options = {}) {
    const defaults = { protocolVersion: this.version, clientId: `${this.root}-${++serial}`, reconnectPeriod: 0 };
    const client = new Client({ ...defaults, ...options });
    this.clients.push(client);
    client.connack = await client.next("connect");
    return client;
  }

  /** The code by which the broker does not let in who connects so. */
  async refusal(options) {
    const defaults = { protocolVersion: this.version, clientId: `${this.root}-${++serial}`, reconnectPeriod: 0 };
    const client = new Client({ ...defaults, ...options });
    this.clients.push(client);
    return (await client.next("error")).code;
  }
}

class Client {
  constructor(options) {
    this.mqtt = mqtt.connect(url, { ca, ...options });
    this.found = { connect: [], message: [], close: [], disconnect: [], error: [] };
    this.waiting = {};
    this.mqtt.on("connect", (connack) => this.put("connect", connack));
    this.mqtt.on("message", (topic, payload, packet) => this.put("message", { ...packet, topic, payload }));
    this.mqtt.on("close", () => this.put("close", {}));
    this.mqtt.on("disconnect", (packet) => this.put("disconnect", packet));
    this.mqtt.on("error", (error) => {
      console.log(`error   ${options.clientId}: ${error.message}`);
      this.put("error", error);
    });
  }

  put(kind, what) {
    this.found[kind].push(what);
    this.waiting[kind]?.();
  }

  async next(kind) {
    if (this.found[kind].length === 0) {
      await within(new Promise((resolve) => (this.waiting[kind] = resolve)), kind);
    }
    return this.found[kind].shift();
  }

  /** The SUBACK's code. */
  async sub(topic, options = {}) {
    const [granted] = await within(this.mqtt.subscribeAsync(topic, options), "SUBACK");
    return granted.qos;
  }

  pub(topic, payload, options = {}) {
    return within(this.mqtt.publishAsync(topic, payload, options), "acknowledgement");
  }

  /** The next message is this one. */
  async got(topic, payload, { qos, retain = false } = {}) {
    const message = await this.next("message");
    assert.equal(message.topic, topic);
    assert.ok(Buffer.from(payload).equals(message.payload), `not the payload of ${payload.length} bytes`);
    assert.equal(message.retain, retain);
    if (qos !== undefined) assert.equal(message.qos, qos);
    return message;
  }

  async gotNothingElse(publisher, topic) {
    await publisher.pub(topic, "the end", { qos: 1 });
    assert.equal((await this.next("message")).payload.toString(), "the end");
  }

  /** The network breaks, without a DISCONNECT. */
  async cut() {
    this.mqtt.stream.destroy();
    await this.next("close");
  }

  leave() {
    return within(this.mqtt.endAsync(), "end of the connection");
  }
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

module.exports = { assert, check, runAll };
