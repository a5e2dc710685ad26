/**
 * The order: what the workload's applications accept, refuse and where they send it.
 *
 * Both TypeScript applications use this module, so it does no I/O and knows no HTTP library. Its rules are those of the
 * Rust crate `order`. An order is passed on as the text that came: only what decides is looked at, and everything else,
 * unknown fields too, stays untouched.
 */

import { Tokens } from "./tokens.ts";

/** The largest body that an application reads, bytes; beyond it the answer is 413. */
export const BODY_BYTES_MAX = 1 << 20;

/** The largest order id. Dapr passes numbers through a float64, which keeps whole numbers up to here. */
const ORDER_ID_MAX = 2n ** 53n;

/** The largest quantity: that of the Rust applications, an unsigned number of 64 bits. */
const QUANTITY_MAX = 2n ** 64n - 1n;

/** How an order is to be delivered; it decides the way the order takes. */
export type Delivery = "Express" | "Standard";

/** Why a body is no order. The sender has to change it: answered with 400. */
export class Refusal extends Error {
  constructor(reason: string) {
    super(`the body is not an order: ${reason}`);
  }
}

/** An order whose deciding fields were read, and its text. */
export interface Order {
  /** The order's id, in digits; it names the order's blob. */
  readonly id: string;
  /** Where it goes. */
  readonly delivery: Delivery;
  /** The order's JSON, as it came. */
  readonly json: string;
}

/** What an application does with an order: send it on to the queue of its delivery, or store it in an outbox. */
export type Route = { readonly does: "distribute" } | { readonly does: "store"; readonly outbox: Delivery };

/** A call of one of Dapr's output bindings with the operation `create`. */
export interface Forward {
  /** The binding's name. */
  readonly binding: string;
  /** What the binding is told beside the order. */
  readonly metadata?: { readonly blobName: string };
  /** The order. */
  readonly order: Order;
}

/** Dapr's bindings that take a distributed order to its queue. */
const QUEUE_BINDINGS = { Express: "q-order-express-out", Standard: "q-order-standard-out" } as const;

/** Dapr's bindings that store a received order. */
const OUTBOX_BINDINGS = { Express: "express-outbox", Standard: "standard-outbox" } as const;

/** The paths that take orders. */
export const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/q-order-ingress", { does: "distribute" }],
  ["/q-order-express-in", { does: "store", outbox: "Express" }],
  ["/q-order-standard-in", { does: "store", outbox: "Standard" }],
]);

/**
 * Reads the order in a body and tells which binding to call with what.
 *
 * @throws {Refusal} see {@link parse}
 */
export function forward(route: Route, body: Uint8Array): Forward {
  const order = parse(body);
  if (route.does === "distribute") return { binding: QUEUE_BINDINGS[order.delivery], order };
  return { binding: OUTBOX_BINDINGS[route.outbox], metadata: { blobName: order.id }, order };
}

/** The path of a call on Dapr's API. */
export function bindingPath(binding: string): string {
  return `/v1.0/bindings/${binding}`;
}

/** The JSON body of a call. Pasted, not serialised: the order is JSON already and must not change. */
export function bindingRequest({ metadata, order }: Forward): string {
  const told = metadata === undefined ? "" : `"metadata":${JSON.stringify(metadata)},`;
  return `{"operation":"create",${told}"data":${order.json}}`;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads an order from a request's body.
 *
 * @throws {Refusal} when the body is not one JSON object, `orderId` or `delivery` is missing or of another kind, a known
 * field comes twice, or an optional field that is there has the wrong type
 */
export function parse(body: Uint8Array): Order {
  let json: string;
  try {
    json = UTF8.decode(body);
    JSON.parse(json);
  } catch (error) {
    throw new Refusal(error instanceof SyntaxError ? error.message : "it is not UTF-8");
  }
  const tokens = new Tokens(json);
  if (tokens.next() !== "{") throw new Refusal("an object is expected");
  const fields = readObject(tokens, ORDER_FIELDS);
  const id = fields.get("orderId");
  const delivery = fields.get("delivery");
  if (id === undefined) throw new Refusal("missing field `orderId`");
  if (delivery === undefined) throw new Refusal("missing field `delivery`");
  return { id, delivery: JSON.parse(delivery) as Delivery, json };
}

/** Reads the value that begins with a token, or refuses it. */
type Check = (token: string, tokens: Tokens, name: string) => void;

const ORDER_FIELDS: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["orderId", orderId],
  ["delivery", delivery],
  ["orderGuid", text],
  ["description", text],
  ["firstName", text],
  ["lastName", text],
  ["items", items],
]);

const ITEM_FIELDS: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["orderItemId", anything],
  ["sku", text],
  ["quantity", quantity],
]);

/** Reads an object behind its opening bracket; gives the first token of each known field. */
function readObject(tokens: Tokens, known: ReadonlyMap<string, Check>): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (let key = tokens.next(); key !== "}"; key = tokens.next()) {
    const name = decode(key);
    const value = tokens.next();
    const check = known.get(name);
    if (check === undefined) {
      tokens.skip(value);
      continue;
    }
    if (found.has(name)) throw new Refusal(`duplicate field \`${name}\``);
    check(value, tokens, name);
    found.set(name, value);
  }
  return found;
}

/** The content of a string token. */
function decode(token: string): string {
  if (!token.includes("\\")) return token.slice(1, -1);
  const content = JSON.parse(token) as string;
  if (!content.isWellFormed()) throw new Refusal("half of a surrogate pair in a string");
  return content;
}

function orderId(token: string): void {
  if (!isWhole(token, ORDER_ID_MAX)) throw new Refusal("`orderId` is not a whole number from 0 to 2^53");
}

function quantity(token: string): void {
  if (token !== "null" && !isWhole(token, QUANTITY_MAX)) {
    throw new Refusal("`quantity` is not a whole number, or less than 0");
  }
}

/** By its spelling, as the Rust applications do: 1.0 and 1e0 are no whole numbers. The length bounds the work. */
function isWhole(token: string, max: bigint): boolean {
  return token.length <= 20 && /^\d+$/.test(token) && BigInt(token) <= max;
}

function delivery(token: string): void {
  const word = token.startsWith('"') ? decode(token) : token;
  if (word !== "Express" && word !== "Standard") throw new Refusal("`delivery` is neither Express nor Standard");
}

function text(token: string, _: Tokens, name: string): void {
  if (token === "null") return;
  if (!token.startsWith('"')) throw new Refusal(`\`${name}\` is not a string`);
  decode(token);
}

function anything(token: string, tokens: Tokens): void {
  tokens.skip(token);
}

function items(token: string, tokens: Tokens): void {
  if (token === "null") return;
  if (token !== "[") throw new Refusal("`items` is not a list");
  for (let item = tokens.next(); item !== "]"; item = tokens.next()) {
    if (item !== "{") throw new Refusal("an item is not an object");
    readObject(tokens, ITEM_FIELDS);
  }
}
