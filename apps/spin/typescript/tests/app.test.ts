/** The handler with the web's own requests, and a Dapr that answers as it is told. The component is the contract suite's. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { handle } from "../src/app.ts";

const ORDER = `{"orderId":17,"delivery":"Express","n":[1e400,-0],"unknown":"ü"}`;

interface Call {
  readonly url: string;
  readonly body: unknown;
}

const real = globalThis.fetch;
let calls: Call[] = [];

afterEach(() => {
  globalThis.fetch = real;
  calls = [];
});

/** Puts this Dapr in the place of the host's outbound HTTP. */
function dapr(answer: () => Promise<Response>): void {
  globalThis.fetch = (url, options) => {
    calls.push({ url: url as string, body: options?.body });
    return answer();
  };
}

function ask(method: string, path: string, body?: string): Promise<Response> {
  const request = new Request(`http://order${path}`, body === undefined ? { method } : { method, body });
  return handle(request, () => "http://dapr:3500/");
}

test("an order goes on as it is spelt", async () => {
  dapr(() => Promise.resolve(new Response(null, { status: 204 })));
  assert.equal((await ask("POST", "/q-order-ingress?x=1", ORDER)).status, 200);
  assert.equal((await ask("POST", "/q-order-standard-in", ORDER)).status, 200);
  assert.deepEqual(calls, [
    { url: "http://dapr:3500/v1.0/bindings/q-order-express-out", body: `{"operation":"create","data":${ORDER}}` },
    {
      url: "http://dapr:3500/v1.0/bindings/standard-outbox",
      body: `{"operation":"create","metadata":{"blobName":"17"},"data":${ORDER}}`,
    },
  ]);
});

test("what is no order is refused and not sent on", async () => {
  dapr(() => Promise.resolve(new Response(null, { status: 204 })));
  const chunk = new Uint8Array(600 << 10);
  const tooLarge = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(chunk);
    },
  });
  const endless = new Request("http://order/q-order-ingress", {
    method: "POST",
    body: tooLarge,
    duplex: "half",
  });
  assert.equal((await handle(endless, () => "http://dapr")).status, 413);
  assert.equal((await ask("POST", "/q-order-ingress", "{")).status, 400);
  assert.equal((await ask("POST", "/q-order-ingress")).status, 400);
  assert.equal((await ask("POST", "/q-order-ingress", `{"orderId":1}`)).status, 400);
  assert.deepEqual(calls, []);
});

test("a body in several parts is read whole", async () => {
  dapr(() => Promise.resolve(new Response(null, { status: 204 })));
  const parts = [ORDER.slice(0, 9), ORDER.slice(9)].map((part) => new TextEncoder().encode(part));
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  });
  const request = new Request("http://order/q-order-ingress", { method: "POST", body, duplex: "half" });
  assert.equal((await handle(request, () => "http://dapr")).status, 200);
  assert.equal(calls[0]?.body, `{"operation":"create","data":${ORDER}}`);
});

test("whatever is no 2xx of Dapr's is a 502", async () => {
  for (const status of [301, 304, 400, 404, 500, 503]) {
    dapr(() => Promise.resolve(new Response(null, { status })));
    assert.equal((await ask("POST", "/q-order-ingress", ORDER)).status, 502, status.toString());
  }
  dapr(() => Promise.reject(new TypeError("connection refused")));
  const answer = await ask("POST", "/q-order-ingress", ORDER);
  assert.deepEqual([answer.status, await answer.text()], [502, "Dapr cannot be reached: connection refused"]);
  assert.equal((await ask("GET", "/dapr-metadata")).status, 502);
});

test("a host without the variable is said with 502", async () => {
  const request = new Request("http://order/q-order-ingress", { method: "POST", body: ORDER });
  const answer = await handle(request, () => {
    throw new Error("no variable dapr_url");
  });
  assert.deepEqual([answer.status, await answer.text()], [502, "Dapr cannot be reached: no variable dapr_url"]);
});

test("Dapr's metadata is passed on as it is", async () => {
  for (const status of [200, 403, 500]) {
    dapr(() =>
      Promise.resolve(new Response(`{"id":  "x"}`, { status, headers: { "content-type": "application/json" } })),
    );
    const answer = await ask("GET", "/dapr-metadata");
    assert.deepEqual([answer.status, await answer.text()], [status, `{"id":  "x"}`]);
  }
});

test("a known path with another method is 405, an unknown path 404", async () => {
  for (const [method, path, status] of [
    ["OPTIONS", "/q-order-ingress", 405],
    ["GET", "/q-order-express-in", 405],
    ["HEAD", "/healthz", 405],
    ["POST", "/dapr-metadata", 405],
    ["GET", "/healthz", 200],
    ["OPTIONS", "/q-order-overnight-in", 404],
    ["GET", "/healthz/", 404],
    ["GET", "/HEALTHZ", 404],
  ] as const) {
    assert.equal((await ask(method, path)).status, status, `${method} ${path}`);
  }
});
