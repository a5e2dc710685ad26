/**
 * What an order's text says and its value does not: that a field comes twice, how a number is spelt, half of a surrogate
 * pair. It checks no types: the value has been checked.
 */

import { Refusal } from "./refusal.ts";
import { Tokens } from "./tokens.ts";

/** What JSON spells so, too, and still says more than its value: half of a surrogate pair, and a quantity of 2^64. */
const TELLING = ["\\ud", "18446744073709552000"];

/**
 * Whether the text says no more than the value that `JSON.parse` made of it: JSON spells that value the same way. So is
 * what Dapr sends, and it spares the tokens, which in a Wasm component would cost more than all the rest of the order.
 */
export function isPlain(json: string, value: unknown): boolean {
  if (TELLING.some((part) => json.includes(part))) return false;
  try {
    return JSON.stringify(value) === json;
  } catch {
    // JSON is written by recursion: what is nested too deeply for that is read by its tokens.
    return false;
  }
}

const ORDER_FIELDS = new Set(["orderId", "delivery", "orderGuid", "description", "firstName", "lastName", "items"]);

const ITEM_FIELDS = new Set(["orderItemId", "sku", "quantity"]);

/** The largest numbers: an order id that float64 keeps, a quantity of 64 bits. */
const WHOLE_NUMBERS = new Map([
  ["orderId", 2n ** 53n],
  ["quantity", 2n ** 64n - 1n],
]);

/**
 * Looks at every token of an order's text.
 *
 * @throws {Refusal} when a known field comes twice, a whole number is spelt as none or too large, or a text or a name is
 * half of a surrogate pair
 */
export function checkSpelling(json: string): void {
  const tokens = new Tokens(json);
  tokens.next();
  checkObject(tokens, ORDER_FIELDS);
}

/** Reads an object behind its opening bracket. */
function checkObject(tokens: Tokens, known: ReadonlySet<string>): void {
  const seen = new Set<string>();
  for (let key = tokens.next(); key !== "}"; key = tokens.next()) {
    const name = text(key);
    const value = tokens.next();
    if (!known.has(name)) {
      tokens.skip(value);
      continue;
    }
    if (seen.has(name)) throw new Refusal(`duplicate field \`${name}\``);
    seen.add(name);
    if (name === "items" && value === "[") {
      while (tokens.next() === "{") checkObject(tokens, ITEM_FIELDS);
    } else if (name === "orderItemId") {
      tokens.skip(value);
    } else if (value.startsWith('"')) {
      text(value);
    } else {
      checkWhole(name, value);
    }
  }
}

/** The content of a string token. */
function text(token: string): string {
  if (!token.includes("\\")) return token.slice(1, -1);
  const content = JSON.parse(token) as string;
  if (!content.isWellFormed()) throw new Refusal("half of a surrogate pair in a text");
  return content;
}

/** As the Rust applications do: 1.0 and 1e0 are no whole numbers. The length bounds the work. */
function checkWhole(name: string, token: string): void {
  const max = WHOLE_NUMBERS.get(name);
  if (max === undefined || token === "null") return;
  if (token.length > 20 || !/^\d+$/.test(token) || BigInt(token) > max) {
    throw new Refusal(`\`${name}\` is not spelt as a whole number, or too large`);
  }
}
