/** The routes over a real socket, with the SDK against a Dapr that answers as it is told. */

import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";

import { app } from "../src/app.ts";
import { Dapr } from "../src/dapr.ts";
import { type Log, sdkLogger } from "../src/log.ts";

const ORDER = `{"orderId":17,"delivery":"Express","__proto__":{"x":[1.5]},"unknown":"ü"}`;

interface Call {
  readonly line: string;
  readonly body: unknown;
}

let calls: Call[] = [];
let behave: RequestListener;
const lines: string[] = [];
const log: Log = (level, message) => {
  lines.push(`${level} ${message}`);
};

const dapr = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString();
    calls.push({ line: `${request.method ?? ""} ${request.url ?? ""}`, body: body && (JSON.parse(body) as unknown) });
    behave(request, response);
  });
});
let client: Dapr;
let server: Server;
let url: string;

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port.toString()}`;
}

before(async () => {
  client = new Dapr(new URL(await listening(dapr)), sdkLogger(log));
  server = createServer(app(client, log));
  url = await listening(server);
});

beforeEach(() => {
  calls = [];
  behave = (_, response) => response.writeHead(204).end();
});

after(async () => {
  await client.stop();
  for (const server_ of [server, dapr]) {
    server_.closeAllConnections();
    server_.close();
  }
});

async function post(path: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<number> {
  const answer = await fetch(url + path, { method: "POST", body, headers });
  await answer.arrayBuffer();
  return answer.status;
}

test("an order goes on through the SDK, unaltered and in one call", async () => {
  assert.equal(await post("/q-order-ingress", ORDER), 200);
  const data = JSON.parse(ORDER) as unknown;
  assert.deepEqual(calls, [
    { line: "POST /v1.0/bindings/q-order-express-out", body: { operation: "create", data, metadata: {} } },
  ]);
});

test("a received order is stored under its id", async () => {
  assert.equal(await post("/q-order-standard-in", ORDER), 200);
  const data = JSON.parse(ORDER) as unknown;
  const body = { operation: "create", data, metadata: { blobName: "17" } };
  assert.deepEqual(calls, [{ line: "POST /v1.0/bindings/standard-outbox", body }]);
});

test("whatever Dapr answers that is no 2xx is a 502, and is logged", async () => {
  for (const status of [301, 302, 307, 308, 304, 400, 401, 404, 500, 503]) {
    behave = (request, response) => {
      const elsewhere = request.url === "/elsewhere";
      response.writeHead(elsewhere ? 200 : status, elsewhere ? {} : { location: "/elsewhere" }).end();
    };
    calls = [];
    lines.length = 0;
    assert.equal(await post("/q-order-ingress", ORDER), 502, status.toString());
    assert.equal(calls.length, 1, `${status.toString()}: a redirection is not followed`);
    assert.match(lines.join(), /WARN Dapr refused or cannot be reached/);
  }
});

test("a Dapr that breaks off is a 502", async () => {
  behave = (_, response) => {
    response.socket?.destroy();
  };
  assert.equal(await post("/q-order-ingress", ORDER), 502);
});

test("a Dapr that is not there is a 502 at once, from the first call on", async () => {
  const gone = createServer();
  const address = await listening(gone);
  gone.close();
  const nobody = createServer(app(new Dapr(new URL(address), sdkLogger(log)), log));
  const front = await listening(nobody);
  const answer = await fetch(`${front}/q-order-ingress`, { method: "POST", body: ORDER });
  assert.equal(answer.status, 502);
  assert.match(await answer.text(), /ECONNREFUSED/);
  assert.equal((await fetch(`${front}/dapr-metadata`)).status, 502);
  assert.equal((await fetch(`${front}/healthz`)).status, 200);
  nobody.closeAllConnections();
  nobody.close();
});

test("what is no order is refused and not sent on", async () => {
  const order = (rest: string): string => `{"orderId":1,"delivery":"Express",${rest}}`;
  for (const [body, status] of [
    ["", 400],
    ["{", 400],
    [`{"orderId":1}`, 400],
    // What JavaScript would alter, or cannot write again.
    [order(`"x":1e400`), 400],
    [order(`"x":${"[".repeat(100_000)}${"]".repeat(100_000)}`), 400],
    [" ".repeat((1 << 20) + 1), 413],
  ] as const) {
    assert.equal(await post("/q-order-ingress", body), status, body.slice(0, 40));
  }
  assert.equal(await post("/q-order-ingress", gzipSync(ORDER), { "content-encoding": "gzip" }), 400);
  assert.deepEqual(calls, []);
});

test("a body without end is refused at the limit, and not when it ends", async () => {
  const endless = new ReadableStream({
    pull: (controller) => {
      controller.enqueue(Buffer.alloc(1 << 16, " "));
    },
  });
  const request: RequestInit = { method: "POST", body: endless, duplex: "half" };
  const answer = await fetch(`${url}/q-order-ingress`, request);
  assert.equal(answer.status, 413);
  assert.equal(answer.headers.get("connection"), "close");
  assert.deepEqual(calls, []);
});

test("a body is read whatever its content type says", async () => {
  for (const type of ["application/json; charset=latin1", "text/plain", "application/x-www-form-urlencoded", "~"]) {
    assert.equal(await post("/q-order-ingress", ORDER, { "content-type": type }), 200, type);
  }
  assert.equal(calls.length, 4);
});

test("Dapr's metadata is passed on as it is", async () => {
  for (const status of [200, 403, 500]) {
    behave = (_, response) => response.writeHead(status, { "content-type": "application/json" }).end(`{"id":  "x"}`);
    const answer = await fetch(`${url}/dapr-metadata`);
    assert.deepEqual(
      [answer.status, answer.headers.get("content-type"), await answer.text()],
      [status, "application/json", `{"id":  "x"}`],
    );
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
    assert.equal((await fetch(url + path, { method })).status, status, `${method} ${path}`);
  }
});
