/** What is an order, what is none, and what Dapr is told: the cases of the Rust crate, and those of JavaScript's own. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { bindingPath, bindingRequest, forward, parse, Refusal, ROUTES } from "../src/order.ts";

const FULL = `{"orderId":17,"orderGuid":"a-b","description":"d","firstName":"A","lastName":"B","delivery":"Express",
    "items":[{"orderItemId":1,"sku":"s","quantity":0}],"unknown":{"z":1,"a":[1.50]}}`;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function request(path: string, body: string): { path: string; body: string } {
  const route = ROUTES.get(path);
  assert.ok(route, path);
  const call = forward(route, bytes(body));
  return { path: bindingPath(call.binding), body: bindingRequest(call) };
}

test("the distributor follows the delivery", () => {
  const { path, body } = request("/q-order-ingress", FULL);
  assert.equal(path, "/v1.0/bindings/q-order-express-out");
  assert.deepEqual(JSON.parse(body), { operation: "create", data: JSON.parse(FULL) as unknown });
  assert.equal(
    request("/q-order-ingress", `{"orderId":1,"delivery":"Standard"}`).path,
    "/v1.0/bindings/q-order-standard-out",
  );
});

test("a receiver stores under the order id in its own outbox", () => {
  const { path, body } = request("/q-order-standard-in", FULL);
  assert.equal(path, "/v1.0/bindings/standard-outbox");
  assert.deepEqual((JSON.parse(body) as { metadata: unknown }).metadata, { blobName: "17" });
  assert.equal(request("/q-order-express-in", FULL).path, "/v1.0/bindings/express-outbox");
});

test("an order is passed on as it is spelt", () => {
  const spelling = `{"orderId":1,"delivery":"Express","n":[1e400,12345678901234567890,-0,1.50],"n":"\\u0041","__proto__":{"a":1}}`;
  assert.equal(request("/q-order-ingress", spelling).body, `{"operation":"create","data":${spelling}}`);
});

test("only id and delivery are required, and may be escaped", () => {
  const order = parse(bytes(` {"delivery":"Standard","orderId":0} `));
  assert.deepEqual([order.id, order.delivery], ["0", "Standard"]);
  assert.equal(parse(bytes(`{"orderId":9007199254740992,"delivery":"Express"}`)).id, "9007199254740992");
  assert.equal(parse(bytes(`{"order\\u0049d":1,"delivery":"\\u0045xpress"}`)).delivery, "Express");
});

test("what is optional may be null, and what is unknown may be anything", () => {
  const nothing = `{"orderId":1,"delivery":"Express","description":null,"orderGuid":null,"items":null}`;
  assert.equal(parse(bytes(nothing)).json, nothing);
  for (const rest of [
    `"items":[]`,
    `"items":[{}]`,
    `"items":[{"quantity":null,"sku":null,"orderItemId":{"orderItemId":[]}}]`,
    `"items":[{"quantity":18446744073709551615,"more":[{"quantity":-1}]}]`,
    `"unknown":{"orderId":2,"delivery":5,"items":{"a":"]}\\"{"}}`,
    `"unknown":"\\ud800","again":1,"again":2`,
    `"unknown":"a\\\\","description":"\\"}\\\\\\""`,
  ]) {
    assert.equal(parse(bytes(`{${rest},"orderId":1,"delivery":"Express"}`)).id, "1", rest);
  }
});

test("other paths take no orders", () => {
  for (const path of ["/", "/healthz", "/q-order-ingress/", "/q-order-express-out", "/Q-ORDER-INGRESS"]) {
    assert.equal(ROUTES.get(path), undefined, path);
  }
});

test("what is no order is refused", () => {
  const order = (rest: string): string => `{"orderId":1,"delivery":"Express",${rest}}`;
  for (const body of [
    "",
    "   ",
    "{",
    "null",
    "[]",
    `[1,"Express"]`,
    "17",
    `"order"`,
    `{"orderId":1}`,
    `{"delivery":"Express"}`,
    `{"orderId":1,"delivery":"express"}`,
    `{"orderId":1,"delivery":"Overnight"}`,
    `{"orderId":1,"delivery":null}`,
    `{"orderId":1,"delivery":["Express"]}`,
    `{"orderId":1,"delivery":{"Express":null}}`,
    `{"orderId":null,"delivery":"Express"}`,
    `{"orderId":"1","delivery":"Express"}`,
    `{"orderId":1.5,"delivery":"Express"}`,
    `{"orderId":1.0,"delivery":"Express"}`,
    `{"orderId":1e0,"delivery":"Express"}`,
    `{"orderId":-1,"delivery":"Express"}`,
    `{"orderId":-0,"delivery":"Express"}`,
    `{"orderId":01,"delivery":"Express"}`,
    `{"orderId":9007199254740993,"delivery":"Express"}`,
    `{"orderId":${"9".repeat(400)},"delivery":"Express"}`,
    order(`"orderId":2`),
    order(`"order\\u0049d":2`),
    order(`"delivery":"Express"`),
    order(`"description":"a","description":"b"`),
    `{"orderId":1,"delivery":"Express"} trailing`,
    `{"orderId":1,"delivery":"Express"}{"orderId":2,"delivery":"Express"}`,
    `\ufeff{"orderId":1,"delivery":"Express"}`,
    order(`"items":[{"quantity":-1}]`),
    order(`"items":[{"quantity":1.0}]`),
    order(`"items":[{"quantity":"1"}]`),
    order(`"items":[{"quantity":18446744073709551616}]`),
    order(`"items":[{"quantity":18446744073709552000}]`),
    order(`"items":[{"quantity":1,"quantity":1}]`),
    order(`"items":[{"sku":5}]`),
    order(`"items":[null]`),
    order(`"items":[[1,"s",2]]`),
    order(`"items":{}`),
    order(`"description":5`),
    order(`"firstName":["A"]`),
    order(`"description":"\\ud800"`),
    order(`"\\ud800":1`),
  ]) {
    assert.throws(() => parse(bytes(body)), Refusal, body);
  }
  const noUtf8 = Uint8Array.from([...bytes(`{"orderId":1,"delivery":"Express","x":"`), 0xff, 0x22, 0x7d]);
  assert.throws(() => parse(noUtf8), /^Error: the body is not an order: it is not UTF-8$/);
});

test("a body as large or as deep as it may be takes no stack", () => {
  const room = 1 << 20;
  for (const value of [
    `"${"\\\\".repeat(room / 2)}"`,
    `"${'\\"'.repeat(room / 2)}"`,
    "[".repeat(room / 2) + "]".repeat(room / 2),
    "9".repeat(room),
  ]) {
    assert.equal(parse(bytes(`{"x":${value},"orderId":1,"delivery":"Express"}`)).id, "1", value.slice(0, 9));
  }
});
