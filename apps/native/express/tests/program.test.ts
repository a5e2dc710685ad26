/** The program as a supervisor sees it: its line, its end, its words. */

import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

/** The bundle; the tests run beside it. */
const PROGRAM = "native/express/build/express-ts.cjs";

interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly url: string;
}

async function start(...args: string[]): Promise<Running> {
  const child = spawn(PROGRAM, ["--listen", "127.0.0.1:0", ...args]);
  child.stderr.pipe(process.stderr);
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const said = JSON.parse(line.toString()) as { program: string; version: string; listen: { http: string } };
  assert.deepEqual([said.program, said.version], ["express-ts", "0.1.0"]);
  return { child, url: `http://${said.listen.http}` };
}

async function exitCode(child: ChildProcessWithoutNullStreams): Promise<unknown> {
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

test("it answers when it has said where, and a signal ends it with 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { child, url } = await start();
    // The connection stays open behind it.
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    child.kill(signal);
    assert.equal(await exitCode(child), 0, signal);
  }
});

test("the end of stdin ends it, if that was asked for", async () => {
  const { child } = await start("--stop-on-stdin-eof");
  child.stdin.end();
  assert.equal(await exitCode(child), 0);
});

test("the end of stdin means nothing otherwise", async () => {
  const { child, url } = await start();
  child.stdin.end();
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  child.kill();
  assert.equal(await exitCode(child), 0);
});

test("what is in flight is finished before the end", async () => {
  let held: ServerResponse | undefined;
  const dapr = createServer((request, response) => {
    request.resume();
    held = response;
    dapr.emit("held");
  });
  await new Promise<void>((resolve) => dapr.listen(0, "127.0.0.1", resolve));
  const { child, url } = await start(
    "--dapr-url",
    `http://127.0.0.1:${(dapr.address() as AddressInfo).port.toString()}`,
  );
  const heldNow = once(dapr, "held");
  const answer = fetch(`${url}/q-order-ingress`, { method: "POST", body: `{"orderId":1,"delivery":"Express"}` });
  await heldNow;
  const exit = exitCode(child);
  child.kill();
  await assert.rejects(async () => {
    // Refused as soon as the signal has arrived.
    for (;;) await fetch(`${url}/healthz`, { headers: { connection: "close" } });
  });
  held?.writeHead(204).end();
  assert.equal((await answer).status, 200);
  assert.equal(await exit, 0);
  dapr.closeAllConnections();
  dapr.close();
});

test("what names no way to run is said in a line, with 2", () => {
  for (const [args, said] of [
    [["--listen", "nowhere"], /'nowhere' for '--listen <ADDRESS>'/],
    [["--listen", "127.0.0.1:99999"], /'127.0.0.1:99999' for '--listen <ADDRESS>'/],
    [["--dapr-url", "https://dapr"], /'https:\/\/dapr' for '--dapr-url <URL>'/],
    [["--unknown"], /--unknown/],
    [["extra"], /extra/],
  ] as const) {
    const { status, stderr, stdout } = spawnSync(PROGRAM, [...args], { encoding: "utf8" });
    assert.deepEqual([status, stdout], [2, ""], args.join(" "));
    assert.match(stderr, said);
  }
});

test("a port that is taken is said with 1", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port.toString()}`;
  const { status, stderr } = spawnSync(PROGRAM, ["--listen", address], { encoding: "utf8" });
  taken.close();
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`^error: failed to listen on ${address}: .*EADDRINUSE.*--listen\n$`));
});

test("it explains itself", () => {
  const help = spawnSync(PROGRAM, ["--help"], { encoding: "utf8" });
  assert.equal(help.status, 0);
  for (const word of ["Usage:", "--listen", "--dapr-url", "--stop-on-stdin-eof"])
    assert.match(help.stdout, new RegExp(word));
  assert.equal(spawnSync(PROGRAM, ["--version"], { encoding: "utf8" }).stdout, "express-ts 0.1.0\n");
});
