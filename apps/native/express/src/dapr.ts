/**
 * Dapr by its official SDK: one client for the whole process.
 *
 * Some habits of the SDK (3.18) would break the contract, and none of them has an option: its first call waits for half a
 * minute for a Dapr that is not there, a call has no time limit, a redirection is followed and what it leads to taken for
 * Dapr's answer, and every other status below 400 counts as success.
 */

import { DaprClient, type LoggerService, LogLevel } from "@dapr/dapr";
import { type Forward, Refusal } from "order";

/** How long Dapr may take for one call. A message that waits longer than this is better given back. */
const CALL_SECONDS = 60;

/** Why Dapr does not have the message. The message comes back when the application says so with 502. */
export class DaprError extends Error {}

/** An answer that is passed on. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
}

/** The options of node-fetch, by which the SDK calls, that matter here. */
interface FetchOptions {
  redirect?: "manual";
  /** Milliseconds for the whole exchange. */
  timeout?: number;
}

/** The class of the SDK's HTTP client, whose only way to its HTTP library is this static. */
interface HttpClientClass {
  client: (url: string, options: FetchOptions) => Promise<{ readonly ok: boolean; readonly status: number }>;
}

/** Dapr's HTTP API. */
export class Dapr {
  readonly #url: string;
  readonly #client: DaprClient;

  /**
   * @param url such as `http://localhost:3500`
   * @param logger takes what the SDK has to say
   */
  constructor(url: URL, logger: LoggerService) {
    const port = url.port === "" ? "80" : url.port;
    this.#url = `http://${url.hostname}:${port}`;
    this.#client = new DaprClient({
      daprHost: url.hostname,
      daprPort: port,
      logger: { level: LogLevel.Warn, service: logger },
    });
    // Who asks while Dapr is not there is told at once, and asks again.
    this.#client.daprClient.setIsInitialized(true);
    limit(this.#client);
  }

  /**
   * Calls an output binding with an order. When it returns, Dapr has the message.
   *
   * @throws {Refusal} when the order holds what JavaScript would alter
   * @throws {DaprError} when Dapr refuses or does not answer
   */
  async send({ binding, metadata, order }: Forward): Promise<void> {
    const data = value(order.json);
    try {
      await this.#client.binding.send(binding, "create", data, metadata);
    } catch (error) {
      throw new DaprError(`Dapr refused or cannot be reached: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * Dapr's metadata, as Dapr answers it, which the SDK would read and judge.
   *
   * @throws {DaprError} when Dapr does not answer
   */
  async metadata(): Promise<Answer> {
    try {
      const signal = AbortSignal.timeout(CALL_SECONDS * 1000);
      const answer = await fetch(`${this.#url}/v1.0/metadata`, { redirect: "manual", signal });
      const body = new Uint8Array(await answer.arrayBuffer());
      return { status: answer.status, contentType: answer.headers.get("content-type") ?? "application/json", body };
    } catch (error) {
      throw new DaprError(`Dapr cannot be reached: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Closes the connections to Dapr. */
  async stop(): Promise<void> {
    await this.#client.stop();
  }
}

/** Puts a limit to every call, and takes no 3xx for success. */
function limit(client: DaprClient): void {
  const http = client.daprClient.constructor as unknown as HttpClientClass;
  const call = http.client;
  http.client = async (url, options) => {
    const answer = await call(url, { ...options, redirect: "manual", timeout: CALL_SECONDS * 1000 });
    if (!answer.ok && answer.status < 400) throw new DaprError(`status ${answer.status.toString()}`);
    return answer;
  };
}

/** The order as the SDK takes it, to be written as JSON again. */
function value(json: string): object {
  try {
    return JSON.parse(json, finite) as object;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("it is nested too deeply");
  }
}

/** A number that no float64 holds would be sent on as null. */
function finite(_: string, value: unknown): unknown {
  if (value === Infinity || value === -Infinity) throw new Refusal("a number is beyond the range of float64");
  return value;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // fetch says only that it failed; why is its cause.
  return error.cause instanceof Error ? error.cause.message : error.message;
}
