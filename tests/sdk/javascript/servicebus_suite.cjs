// The cases of npm's @azure/service-bus against the broker. Every case has a queue of its own, named after it.
"use strict";

const assert = require("node:assert/strict");
const Long = require("long");
const { ServiceBusClient } = require("@azure/service-bus");
const { test, until, main } = require("./suite.cjs");

const CONNECTION = process.env.SERVICEBUS_CONNECTION_STRING;

// LockDuration of every queue of these suites.
const LOCK_MS = 5_000;

/** Runs `body` with a client of its own, closed afterwards. */
function withQueue(body) {
  return async (name) => {
    const client = new ServiceBusClient(CONNECTION, { retryOptions: { maxRetries: 0, timeoutInMs: 15_000 } });
    try {
      await body({ name, client, sender: client.createSender(name) });
    } finally {
      await client.close();
    }
  };
}

/** Exactly `count` messages, in the order of their arrival. */
async function receive(receiver, count = 1) {
  const messages = [];
  await until(`${count} messages`, async () => {
    messages.push(...(await receiver.receiveMessages(count - messages.length, { maxWaitTimeInMs: 2_000 })));
    return messages.length === count;
  });
  return messages;
}

async function receiveOne(receiver) {
  return (await receive(receiver))[0];
}

/** What the queue holds, locked or not, from its start: the SDK itself would go on behind what was peeked last. */
async function held(receiver) {
  return receiver.peekMessages(5, { fromSequenceNumber: Long.ONE });
}

async function nothing(receiver, waitMs = 1_000) {
  assert.deepEqual(await receiver.receiveMessages(1, { maxWaitTimeInMs: waitMs }), []);
}

/** An instant that is far enough off for a few requests before it: the connection is there once this has answered. */
async function soon(receiver) {
  await held(receiver);
  return new Date(Date.now() + 3_000);
}

function refusedWith(code) {
  return (error) => {
    assert.equal(error.code, code, error.stack);
    return true;
  };
}

const bodies = (messages) => messages.map((message) => message.body);
// New ones for every receiver: createReceiver takes the mode out of the options that it is given.
const receiveAndDelete = () => ({ receiveMode: "receiveAndDelete" });
// Without it the client renews the lock of whatever it receives.
const noRenewal = () => ({ maxAutoLockRenewalDurationInMs: 0 });
const deadLetter = () => ({ subQueueType: "deadLetter" });

test("send_single", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "one" });
  const receiver = client.createReceiver(name);
  const message = await receiveOne(receiver);
  assert.equal(message.body, "one");
  assert.equal(message.deliveryCount, 0);
  assert.ok(message.sequenceNumber.toNumber() >= 1);
  assert.match(message.lockToken, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  assert.ok(Math.abs(Date.now() - message.enqueuedTimeUtc) < 60_000);
  const left = message.lockedUntilUtc - Date.now();
  assert.ok(left > 0 && left <= LOCK_MS + 1_000, `${left} ms`);
  await receiver.completeMessage(message);
}));

test("send_batch", withQueue(async ({ name, client, sender }) => {
  const batch = await sender.createMessageBatch();
  for (let number = 0; number < 100; number++) {
    assert.ok(batch.tryAddMessage({ body: number, messageId: `id-${number}` }));
  }
  await sender.sendMessages(batch);
  const messages = await receive(client.createReceiver(name, receiveAndDelete()), 100);
  assert.deepEqual(bodies(messages), [...Array(100).keys()]);
  assert.deepEqual(messages.map((message) => message.messageId), [...Array(100).keys()].map((n) => `id-${n}`));
  const numbers = messages.map((message) => message.sequenceNumber.toNumber());
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
}));

test("send_array", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: "a" }, { body: "b" }]);
  assert.deepEqual(bodies(await receive(client.createReceiver(name, receiveAndDelete()), 2)), ["a", "b"]);
}));

test("batch_too_large", withQueue(async ({ sender }) => {
  const batch = await sender.createMessageBatch({ maxSizeInBytes: 1_000 });
  assert.equal(batch.tryAddMessage({ body: "x".repeat(2_000) }), false);
  assert.ok((await sender.createMessageBatch()).maxSizeInBytes > 1_000);
}));

test("message_too_large", withQueue(async ({ name, client, sender }) => {
  const tooLarge = { body: Buffer.alloc(2 << 20) };
  await assert.rejects(sender.sendMessages(tooLarge), refusedWith("MessageSizeExceeded"));
  const half = { body: Buffer.alloc(700 << 10) };
  await assert.rejects(sender.sendMessages([half, half]), refusedWith("MessageSizeExceeded"));
  // The refusal costs neither the link nor the queue anything.
  await sender.sendMessages({ body: "small" });
  assert.deepEqual(bodies(await held(client.createReceiver(name))), ["small"]);
}));

test("message_properties", withQueue(async ({ name, client, sender }) => {
  const sent = {
    body: { order: 1, nested: { list: [1, "two", null, true] } },
    messageId: "m-1",
    correlationId: "c-1",
    subject: "subject",
    to: "to",
    replyTo: "reply",
    replyToSessionId: "reply-session",
    sessionId: "session",
    partitionKey: "session",
    contentType: "application/json",
    timeToLive: 420_000,
    applicationProperties: {
      text: "ü",
      integer: 2 ** 31 - 1,
      large: 2 ** 40,
      negative: -5,
      float: 1.5,
      yes: true,
      no: false,
      date: new Date(Date.UTC(2026, 0, 1)),
      nothing: null,
    },
  };
  await sender.sendMessages(sent);
  const receiver = client.createReceiver(name);
  const message = await receiveOne(receiver);
  for (const field of Object.keys(sent)) {
    if (field !== "applicationProperties") assert.deepEqual(message[field], sent[field], field);
  }
  const { date, ...rest } = message.applicationProperties;
  const { date: sentDate, ...sentRest } = sent.applicationProperties;
  assert.deepEqual(rest, sentRest);
  assert.equal(new Date(date).getTime(), sentDate.getTime());
  assert.equal(message.expiresAtUtc - message.enqueuedTimeUtc, 420_000);
  await receiver.completeMessage(message);
}));

test("message_id_types", withQueue(async ({ name, client, sender }) => {
  const ids = ["text", 42, Buffer.from([...Array(16).keys()])];
  for (const messageId of ids) await sender.sendMessages({ body: "x", messageId });
  const found = await receive(client.createReceiver(name, receiveAndDelete()), 3);
  assert.deepEqual(found.map((message) => message.messageId), ids);
}));

test("message_id_is_given", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: 1 }, { body: 2 }]);
  // A receiver that renews locks keeps them by message id, and cannot be closed without.
  const receiver = client.createReceiver(name);
  const ids = (await receive(receiver, 2)).map((message) => message.messageId);
  assert.equal(new Set(ids).size, 2);
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
  await receiver.close();
}));

test("body_types", withQueue(async ({ name, client, sender }) => {
  const sent = ["text", 1, 1.5, true, null, [1, 2], { a: [{ b: "c" }] }, Buffer.from([0, 255])];
  for (const body of sent) await sender.sendMessages({ body });
  await sender.sendMessages({ body: [["a", 1], ["b"]], bodyType: "sequence" });
  await sender.sendMessages({ body: { map: "value" }, bodyType: "value" });
  const found = await receive(client.createReceiver(name, receiveAndDelete()), sent.length + 2);
  assert.deepEqual(bodies(found), [...sent, [["a", 1], ["b"]], { map: "value" }]);
  const types = found.slice(-3).map((message) => message._rawAmqpMessage.bodyType);
  assert.deepEqual(types, ["data", "sequence", "value"]);
}));

test("large_message", withQueue(async ({ name, client, sender }) => {
  const large = Buffer.alloc(900 * 1024, "0123456789");
  await sender.sendMessages({ body: large });
  const receiver = client.createReceiver(name);
  const message = await receiveOne(receiver);
  assert.ok(large.equals(message.body), `${message.body.length} bytes`);
  await receiver.completeMessage(message);
  assert.deepEqual(await held(receiver), []);
}));

test("receive_and_delete", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: 1 }, { body: 2 }]);
  const receiver = client.createReceiver(name, receiveAndDelete());
  assert.deepEqual(bodies(await receive(receiver, 2)), [1, 2]);
  assert.deepEqual(await held(receiver), []);
}));

test("complete", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: 1 }, { body: 2 }]);
  const receiver = client.createReceiver(name);
  const [first, second] = await receive(receiver, 2);
  await receiver.completeMessage(first);
  await assert.rejects(receiver.completeMessage(first));
  assert.deepEqual(bodies(await held(receiver)), [2]);
  await receiver.completeMessage(second);
  assert.deepEqual(await held(receiver), []);
}));

test("abandon_with_properties", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: 1, applicationProperties: { kept: "k", changed: 1 } }, { body: 2 }]);
  const receiver = client.createReceiver(name);
  const first = await receiveOne(receiver);
  await receiver.abandonMessage(first, { changed: 2, added: "a" });
  const again = await receiveOne(receiver);
  assert.equal(again.body, 1);
  assert.equal(again.deliveryCount, 1);
  assert.deepEqual(again.sequenceNumber.toString(), first.sequenceNumber.toString());
  assert.deepEqual({ ...again.applicationProperties }, { kept: "k", changed: 2, added: "a" });
  await receiver.completeMessage(again);
}));

test("defer_with_properties", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: "deferred" }, { body: "next" }]);
  const receiver = client.createReceiver(name);
  const [first, second] = await receive(receiver, 2);
  await receiver.deferMessage(first, { why: "later" });
  await receiver.completeMessage(second);
  await nothing(receiver);
  assert.equal((await held(receiver))[0].state, "deferred");
  const [deferred] = await receiver.receiveDeferredMessages(first.sequenceNumber);
  assert.equal(deferred.body, "deferred");
  assert.equal(deferred.applicationProperties.why, "later");
  await receiver.completeMessage(deferred);
  await assert.rejects(receiver.receiveDeferredMessages(first.sequenceNumber), refusedWith("MessageNotFound"));
}));

test("defer_abandon_stays_deferred", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "x" });
  const receiver = client.createReceiver(name);
  const message = await receiveOne(receiver);
  await receiver.deferMessage(message);
  const [first] = await receiver.receiveDeferredMessages(message.sequenceNumber);
  await receiver.abandonMessage(first);
  await nothing(receiver);
  const [second] = await receiver.receiveDeferredMessages(message.sequenceNumber);
  await receiver.deadLetterMessage(second, { deadLetterReason: "r" });
  const dead = await receiveOne(client.createReceiver(name, deadLetter()));
  assert.equal(dead.deadLetterReason, "r");
}));

test("dead_letter", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "poison", applicationProperties: { kept: "yes" } });
  const receiver = client.createReceiver(name);
  await receiver.deadLetterMessage(await receiveOne(receiver), {
    deadLetterReason: "BadOrder",
    deadLetterErrorDescription: "no delivery",
    extra: "e",
  });
  await nothing(receiver);
  const deadLetters = client.createReceiver(name, deadLetter());
  assert.equal((await held(deadLetters))[0].body, "poison");
  const dead = await receiveOne(deadLetters);
  assert.equal(dead.body, "poison");
  assert.equal(dead.deadLetterReason, "BadOrder");
  assert.equal(dead.deadLetterErrorDescription, "no delivery");
  assert.equal(dead.applicationProperties.kept, "yes");
  assert.equal(dead.applicationProperties.extra, "e");
  await deadLetters.completeMessage(dead);
  assert.deepEqual(await held(deadLetters), []);
}));

test("max_delivery_count", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "poison" });
  const receiver = client.createReceiver(name);
  for (let delivery = 0; delivery < 3; delivery++) {
    const message = await receiveOne(receiver);
    assert.equal(message.deliveryCount, delivery);
    await receiver.abandonMessage(message);
  }
  await nothing(receiver);
  const dead = await receiveOne(client.createReceiver(name, deadLetter()));
  assert.equal(dead.deadLetterReason, "MaxDeliveryCountExceeded");
}));

test("lock_expires", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "x" });
  const [holder, rival] = [client.createReceiver(name, noRenewal()), client.createReceiver(name)];
  const first = await receiveOne(holder);
  const second = await receiveOne(rival);
  assert.ok(Date.now() >= first.lockedUntilUtc, "delivered again before the lock ended");
  assert.equal(second.deliveryCount, 1);
  await assert.rejects(holder.completeMessage(first), refusedWith("MessageLockLost"));
  await assert.rejects(holder.renewMessageLock(first), refusedWith("MessageLockLost"));
  await rival.completeMessage(second);
  assert.deepEqual(await held(rival), []);
}));

test("wrong_lock_token", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "x" });
  const receiver = client.createReceiver(name);
  const message = await receiveOne(receiver);
  const wrong = "00112233-4455-6677-8899-aabbccddeeff";
  await assert.rejects(receiver.renewMessageLock({ ...message, lockToken: wrong }), refusedWith("MessageLockLost"));
  await receiver.completeMessage(message);
}));

test("renew_lock", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "x" });
  const [holder, rival] = [client.createReceiver(name, noRenewal()), client.createReceiver(name)];
  const message = await receiveOne(holder);
  const firstEnd = message.lockedUntilUtc;
  let lastEnd = firstEnd;
  for (let renewals = 0; renewals < 3; renewals++) {
    await nothing(rival, 2_000);
    const renewed = await holder.renewMessageLock(message);
    assert.ok(renewed > lastEnd, `${renewed} ${lastEnd}`);
    lastEnd = renewed;
  }
  assert.ok(Date.now() > firstEnd, "the first lock has not ended yet");
  await holder.completeMessage(message);
  await nothing(rival);
}));

test("peek", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([...Array(5).keys()].map((body) => ({ body })));
  const receiver = client.createReceiver(name);
  assert.deepEqual(bodies(await receiver.peekMessages(3)), [0, 1, 2]);
  const rest = await receiver.peekMessages(10);
  assert.deepEqual(bodies(rest), [3, 4]);
  const from = rest[0].sequenceNumber;
  assert.deepEqual(bodies(await receiver.peekMessages(10, { fromSequenceNumber: from })), [3, 4]);
  const received = await receive(receiver, 5);
  assert.deepEqual(received.map((message) => message.deliveryCount), [0, 0, 0, 0, 0]);
}));

test("time_to_live", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([{ body: "short", timeToLive: 1_000 }, { body: "long" }]);
  const dead = await receiveOne(client.createReceiver(name, deadLetter()));
  assert.equal(dead.body, "short");
  assert.equal(dead.deadLetterReason, "TTLExpiredException");
  assert.equal((await receiveOne(client.createReceiver(name))).body, "long");
}));

test("schedule", withQueue(async ({ name, client, sender }) => {
  const receiver = client.createReceiver(name);
  const due = await soon(receiver);
  const numbers = await sender.scheduleMessages([{ body: 1 }, { body: 2 }], due);
  assert.equal(new Set(numbers.map(String)).size, 2);
  assert.deepEqual((await held(receiver)).map((message) => message.state), ["scheduled", "scheduled"]);
  const messages = await receive(receiver, 2);
  assert.ok(Date.now() >= due, "delivered before it was due");
  assert.deepEqual(bodies(messages).sort(), [1, 2]);
  for (const message of messages) await receiver.completeMessage(message);
}));

test("schedule_by_property", withQueue(async ({ name, client, sender }) => {
  const receiver = client.createReceiver(name, receiveAndDelete());
  const due = await soon(receiver);
  await sender.sendMessages([{ body: "later", scheduledEnqueueTimeUtc: due }, { body: "now" }]);
  assert.equal((await receiveOne(receiver)).body, "now");
  const later = await receiveOne(receiver);
  assert.ok(Date.now() >= due, "delivered before it was due");
  assert.equal(later.body, "later");
}));

test("schedule_cancel", withQueue(async ({ name, client, sender }) => {
  const receiver = client.createReceiver(name, receiveAndDelete());
  const due = await soon(receiver);
  const [cancelled] = await sender.scheduleMessages([{ body: "cancelled" }, { body: "kept" }], due);
  await sender.cancelScheduledMessages(cancelled);
  await assert.rejects(sender.cancelScheduledMessages(cancelled), refusedWith("MessageNotFound"));
  // A later one shows that the instant has passed.
  await sender.scheduleMessages({ body: "last" }, new Date(due.getTime() + 300));
  assert.deepEqual(bodies(await receive(receiver, 2)), ["kept", "last"]);
  assert.deepEqual(await held(receiver), []);
}));

test("subscribe", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([...Array(20).keys()].map((body) => ({ body })));
  const receiver = client.createReceiver(name);
  const found = [];
  const errors = [];
  await new Promise((done, failed) => {
    receiver.subscribe(
      {
        processMessage: async (message) => {
          found.push(message.body);
          if (found.length === 20) done();
        },
        processError: async ({ error }) => {
          errors.push(error);
          failed(error);
        },
      },
      { maxConcurrentCalls: 4, autoCompleteMessages: true },
    );
  });
  await until("an empty queue", async () => (await held(receiver)).length === 0);
  assert.deepEqual(found.sort((a, b) => a - b), [...Array(20).keys()]);
  assert.deepEqual(errors, []);
}));

test("subscribe_renews_locks", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages({ body: "slow" });
  const [holder, rival] = [client.createReceiver(name), client.createReceiver(name)];
  let settle;
  const settled = new Promise((resolve) => (settle = resolve));
  let error;
  await new Promise((begun, failed) => {
    holder.subscribe(
      {
        processMessage: async () => {
          begun();
          // Longer than the lock: only its renewal keeps the message away from the rival.
          error = await nothing(rival, LOCK_MS + 2_000).catch((thrown) => thrown);
          settle();
        },
        processError: async (args) => failed(args.error),
      },
      { maxAutoLockRenewalDurationInMs: 30_000 },
    );
  });
  await settled;
  assert.equal(error, undefined);
  await until("an empty queue", async () => (await held(rival)).length === 0);
}));

test("unknown_queue", async () => {
  const client = new ServiceBusClient(CONNECTION, { retryOptions: { maxRetries: 0, timeoutInMs: 15_000 } });
  try {
    const sender = client.createSender("no-such-queue");
    await assert.rejects(sender.sendMessages({ body: "x" }), refusedWith("MessagingEntityNotFound"));
    const receiver = client.createReceiver("no-such-queue");
    await assert.rejects(receiver.receiveMessages(1, { maxWaitTimeInMs: 2_000 }), refusedWith("MessagingEntityNotFound"));
  } finally {
    await client.close();
  }
});

test("competing_receivers", withQueue(async ({ name, client, sender }) => {
  await sender.sendMessages([...Array(40).keys()].map((body) => ({ body })));
  const receivers = [client.createReceiver(name), client.createReceiver(name)];
  const found = [];
  await until("all messages", async () => {
    await Promise.all(
      receivers.map(async (receiver) => {
        for (const message of await receiver.receiveMessages(7, { maxWaitTimeInMs: 1_000 })) {
          found.push(message.body);
          await receiver.completeMessage(message);
        }
      }),
    );
    return found.length >= 40;
  });
  assert.deepEqual(found.sort((a, b) => a - b), [...Array(40).keys()]);
}));

main((name) => "javascript." + name);
