/**
 * The Spin TypeScript stack: one handler that is distributor or receiver by the path that Dapr calls.
 *
 * It knows Dapr and the web's standard requests and answers. What an order is and where it goes is the module `order`'s.
 */

import { bindingPath, bindingRequest, BODY_BYTES_MAX, forward, type Forward, Refusal, type Route, ROUTES } from "order";

/** Where Dapr is. It throws when nobody has said. */
export type DaprUrl = () => string;

/** Answers a request. */
export async function handle(request: Request, daprUrl: DaprUrl): Promise<Response> {
  const path = pathOf(request.url);
  const route = ROUTES.get(path);
  if (route !== undefined) {
    // Dapr takes 405 in answer to its probe by OPTIONS for "subscribed".
    return request.method === "POST" ? order(route, request, daprUrl) : answer(405, "");
  }
  if (path !== "/healthz" && path !== "/dapr-metadata") return answer(404, "");
  if (request.method !== "GET") return answer(405, "");
  return path === "/healthz" ? answer(200, "ok") : metadata(daprUrl);
}

async function order(route: Route, request: Request, daprUrl: DaprUrl): Promise<Response> {
  let call: Forward;
  try {
    const body = await read(request);
    if (body === undefined) return answer(413, `a body has at most ${BODY_BYTES_MAX.toString()} bytes`);
    call = forward(route, body);
  } catch (error) {
    return answer(400, error instanceof Refusal ? error.message : "the body breaks off");
  }
  try {
    const body = bindingRequest(call);
    const headers = { "content-type": "application/json" };
    const response = await fetch(at(daprUrl, bindingPath(call.binding)), { method: "POST", headers, body });
    if (response.ok) return answer(200, "");
    return answer(502, `Dapr refused: ${response.status.toString()} ${await response.text()}`);
  } catch (error) {
    return unreachable(error);
  }
}

/** Passes Dapr's own answer on. */
async function metadata(daprUrl: DaprUrl): Promise<Response> {
  try {
    const response = await fetch(at(daprUrl, "/v1.0/metadata"));
    const headers = { "content-type": response.headers.get("content-type") ?? "application/json" };
    return new Response(await response.arrayBuffer(), { status: response.status, headers });
  } catch (error) {
    return unreachable(error);
  }
}

/** Reads a body; nothing when it is larger than the contract's limit. */
async function read(request: Request): Promise<Uint8Array | undefined> {
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    size += next.value.byteLength;
    if (size > BODY_BYTES_MAX) return undefined;
    chunks.push(next.value);
  }
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.byteLength;
  }
  return body;
}

/** Between the authority and the query. Parsing the whole URL would cost as much as an order's JSON. */
function pathOf(url: string): string {
  const path = url.slice(url.indexOf("/", url.indexOf("//") + 2));
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

function at(daprUrl: DaprUrl, path: string): string {
  return daprUrl().replace(/\/+$/, "") + path;
}

function unreachable(error: unknown): Response {
  return answer(502, `Dapr cannot be reached: ${error instanceof Error ? error.message : String(error)}`);
}

function answer(status: number, text: string): Response {
  return new Response(text, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}
