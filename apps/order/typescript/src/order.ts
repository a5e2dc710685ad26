/**
 * The order: what the workload's applications accept, refuse and where they send it.
 *
 * Both TypeScript applications use this module, so it does no I/O and knows no HTTP library. Its rules are those of the
 * Rust crate `order`. An order is passed on as the text that came: only what decides is looked at, and everything else,
 * unknown fields too, stays untouched.
 */

import { Refusal } from "./refusal.ts";
import { checkSpelling, isPlain } from "./spelling.ts";

export { Refusal };

/** The largest body that an application reads, bytes; beyond it the answer is 413. */
export const BODY_BYTES_MAX = 1 << 20;

/** The largest order id. Dapr passes numbers through a float64, which keeps whole numbers up to here. */
const ORDER_ID_MAX = 2 ** 53;

/** The largest quantity, but for the rounding of float64: an unsigned number of 64 bits, as in the Rust applications. */
const QUANTITY_MAX = 2 ** 64;

/** How an order is to be delivered; it decides the way the order takes. */
export type Delivery = "Express" | "Standard";

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
  let value: unknown;
  try {
    json = UTF8.decode(body);
    value = JSON.parse(json);
  } catch (error) {
    throw new Refusal(error instanceof SyntaxError ? error.message : "it is not UTF-8");
  }
  const order = check(value);
  if (!isPlain(json, value)) checkSpelling(json);
  return { ...order, json };
}

/** The fields of something that may be an order; of what is missing nothing is said. */
type Fields = Readonly<Record<string, unknown>>;

function check(value: unknown): { id: string; delivery: Delivery } {
  if (!isObject(value)) throw new Refusal("an object is expected");
  const { orderId, delivery, orderGuid, description, firstName, lastName, items } = value;
  if (!isWhole(orderId, ORDER_ID_MAX)) throw new Refusal("`orderId` is missing, or no whole number from 0 to 2^53");
  if (delivery !== "Express" && delivery !== "Standard") {
    throw new Refusal("`delivery` is missing, or neither Express nor Standard");
  }
  for (const text of [orderGuid, description, firstName, lastName]) checkText(text);
  if (items !== undefined && items !== null) {
    if (!Array.isArray(items)) throw new Refusal("`items` is not a list");
    for (const item of items) checkItem(item);
  }
  return { id: orderId.toString(), delivery };
}

function checkItem(item: unknown): void {
  if (!isObject(item)) throw new Refusal("an item is not an object");
  const { sku, quantity } = item;
  checkText(sku);
  if (quantity !== undefined && quantity !== null && !isWhole(quantity, QUANTITY_MAX)) {
    throw new Refusal("`quantity` is not a whole number, or less than 0");
  }
}

function checkText(text: unknown): void {
  if (typeof text !== "string" && text !== undefined && text !== null) throw new Refusal("a field is not a text");
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWhole(value: unknown, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}
