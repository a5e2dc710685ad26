/** The program `express-ts`: arguments, a listening socket, an orderly end. */

import { createServer, type Server } from "node:http";
import { isIPv6, type AddressInfo } from "node:net";
import { parseArgs } from "node:util";

import { version } from "../package.json";
import { app } from "./app.ts";
import { Dapr } from "./dapr.ts";
import { log, sdkLogger } from "./log.ts";

const HELP = `Distributes and stores orders through Dapr: distributor and receivers in one program, by the route that Dapr calls

Usage: express-ts [OPTIONS]

Options:
      --listen <ADDRESS>    Address to listen on; port 0 means any free one, and the first line on stdout tells which
                            [env: LISTEN=] [default: 127.0.0.1:3000]
      --dapr-url <URL>      Where Dapr's HTTP API is [env: DAPR_URL=] [default: http://localhost:3500]
      --stop-on-stdin-eof   Stop when stdin ends, for a supervisor that holds the other end
  -h, --help                Print help
  -V, --version             Print version
`;

/** Connections that may wait to be accepted. */
const BACKLOG = 1024;

/** Longer than Dapr keeps an idle connection (90 s): who sends must be the one who closes, or a request is lost. */
const KEEP_ALIVE_SECONDS = 120;

/** Arguments that name no way to run: said on stderr, exit code 2. */
class UsageError extends Error {}

interface Settings {
  readonly host: string;
  readonly port: number;
  readonly daprUrl: URL;
  readonly stopOnStdinEof: boolean;
}

function settings(): Settings | "help" | "version" {
  const { values } = parse();
  if (values.help) return "help";
  if (values.version) return "version";
  const listen = values.listen ?? process.env["LISTEN"] ?? "127.0.0.1:3000";
  const daprUrl = values["dapr-url"] ?? process.env["DAPR_URL"] ?? "http://localhost:3500";
  return { ...address(listen), daprUrl: url(daprUrl), stopOnStdinEof: values["stop-on-stdin-eof"] ?? false };
}

function parse() {
  try {
    return parseArgs({
      options: {
        listen: { type: "string" },
        "dapr-url": { type: "string" },
        "stop-on-stdin-eof": { type: "boolean" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "V" },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function address(text: string): { host: string; port: number } {
  const [, host = "", digits = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === "" || port > 65_535) {
    throw new UsageError(`invalid value '${text}' for '--listen <ADDRESS>': expected one such as 127.0.0.1:3000`);
  }
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port };
}

/** An address to which a path can be added. */
function url(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.hostname === "") {
    throw new UsageError(
      `invalid value '${text}' for '--dapr-url <URL>': expected a URL such as http://localhost:3500`,
    );
  }
  return url;
}

function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      resolve(server.address() as AddressInfo);
    });
  });
}

/** Says where the program answers, now that it does. */
function announce({ address, port }: AddressInfo): void {
  const http = `${isIPv6(address) ? `[${address}]` : address}:${port.toString()}`;
  process.stdout.write(`${JSON.stringify({ program: "express-ts", version, listen: { http } })}\n`);
}

/** Takes no more connections, finishes what is in flight, and lets the process end. */
function stopper(server: Server, dapr: Dapr): () => void {
  let stopping = false;
  server.on("request", (_, response) => {
    response.once("close", () => {
      // A kept connection is idle again, and would hold the process for as long as its peer likes.
      if (stopping) {
        setImmediate(() => {
          server.closeIdleConnections();
        });
      }
    });
  });
  return () => {
    if (stopping) return;
    stopping = true;
    process.stdin.destroy();
    server.close(() => void dapr.stop());
  };
}

async function main(): Promise<void> {
  const chosen = settings();
  if (chosen === "help" || chosen === "version") {
    process.stdout.write(chosen === "help" ? HELP : `express-ts ${version}\n`);
    return;
  }
  const dapr = new Dapr(chosen.daprUrl, sdkLogger(log));
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_SECONDS * 1000, noDelay: true }, app(dapr, log));
  const stop = stopper(server, dapr);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
  const at = await listen(server, chosen.host, chosen.port).catch((error: unknown) => {
    const cause = error instanceof Error ? error.message : String(error);
    throw new Error(
      `failed to listen on ${chosen.host}:${chosen.port.toString()}: ${cause}; choose another address with --listen`,
    );
  });
  if (chosen.stopOnStdinEof) process.stdin.on("end", stop).on("error", stop).resume();
  announce(at);
}

main().catch((error: unknown) => {
  const usage = error instanceof UsageError;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`error: ${message}\n${usage ? "\nFor more information, try '--help'.\n" : ""}`);
  process.exitCode = usage ? 2 : 1;
});
