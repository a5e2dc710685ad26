/** The routes: what comes in, what Dapr is told, what goes back. */

import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from "express";
import { BODY_BYTES_MAX, forward, Refusal, type Route, ROUTES } from "order";

import { type Dapr, DaprError } from "./dapr.ts";
import type { Log } from "./log.ts";

/** What the routes need of Dapr. */
export type Bindings = Pick<Dapr, "metadata" | "send">;

/**
 * All routes of the contract. A known path with another method is answered 405, which Dapr's subscription probe by
 * OPTIONS takes for "subscribed".
 */
export function app(dapr: Bindings, log: Log): Express {
  const app = express();
  app.disable("x-powered-by").disable("etag").enable("strict routing").enable("case sensitive routing");
  for (const [path, route] of ROUTES) {
    app.post(path, order(route, dapr, log));
  }
  const health: RequestHandler = (_, response) => {
    answer(response, 200, "ok");
  };
  const metadata: RequestHandler = async (_, response) => {
    const { status, contentType, body } = await dapr.metadata();
    response.status(status).setHeader("content-type", contentType).end(body);
  };
  for (const [path, handler] of [
    ["/healthz", health],
    ["/dapr-metadata", metadata],
  ] as const) {
    // Express would answer HEAD with the handler of GET.
    app.head(path, notAllowed).get(path, handler);
  }
  for (const path of [...ROUTES.keys(), "/healthz", "/dapr-metadata"]) app.all(path, notAllowed);
  app.use((_, response) => {
    answer(response, 404, "");
  });
  app.use(failed(log));
  return app;
}

function order(route: Route, dapr: Bindings, log: Log): RequestHandler {
  return async (request, response) => {
    const call = forward(route, await read(request));
    try {
      await dapr.send(call);
    } catch (error) {
      if (error instanceof DaprError) log("WARN", error.message, { binding: call.binding });
      throw error;
    }
    answer(response, 200, "");
  };
}

/** Why a body was not read to its end. */
class BodyError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Reads a body, whatever its content type says. Not with `express.raw`: that answers a body over the limit when it has
 * come to its end, and one without end never.
 */
function read(request: Request): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.byteLength;
      if (size > BODY_BYTES_MAX) {
        request.pause();
        reject(new BodyError(413, `a body has at most ${BODY_BYTES_MAX.toString()} bytes`));
      } else {
        chunks.push(chunk);
      }
    });
    request.once("end", () => {
      resolve(Buffer.concat(chunks));
    });
    request.once("error", () => {
      reject(new BodyError(400, "the body breaks off"));
    });
  });
}

const notAllowed: RequestHandler = (_, response) => {
  answer(response, 405, "");
};

/** Turns what a route or the reading of a body has thrown into an answer. */
function failed(log: Log): ErrorRequestHandler {
  return (error: unknown, _, response, next) => {
    if (response.headersSent) {
      next(error);
    } else if (error instanceof Refusal) {
      answer(response, 400, error.message);
    } else if (error instanceof DaprError) {
      answer(response, 502, error.message);
    } else if (error instanceof BodyError) {
      // What is left of the body is not read, so no other request can come behind it.
      response.setHeader("connection", "close");
      answer(response, error.status, error.message);
    } else {
      log("ERROR", `a request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      answer(response, 500, "");
    }
  };
}

function answer(response: Response, status: number, text: string): void {
  response.status(status).setHeader("content-type", "text/plain; charset=utf-8").end(text);
}
