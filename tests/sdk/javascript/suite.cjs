// Runs the cases of one suite side by side and prints one JSON line for each: what the Rust side reads.
//
// A case is registered with `test(name, body)`; cases share nothing. One that does not end by the deadline is
// reported as failed. NODE_PATH says where the SDKs are.
"use strict";

const CASE_DEADLINE_MS = 60_000;

const cases = new Map();

/** Registers a case. */
function test(name, body) {
  cases.set(name, body);
}

/** Asks `condition` until it gives something true; `condition` itself waits a little, so there is no pause here. */
async function until(what, condition, deadlineMs = 20_000) {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${deadlineMs} ms for ${what}; last: ${value}`);
  }
}

/** Settles with the body of the case or, at the deadline, with a failure. */
function withDeadline(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${CASE_DEADLINE_MS} ms`)), CASE_DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs every case with `argumentOf(name)`, or those named on the command line; `--list` only tells them. */
async function main(argumentOf) {
  const wanted = process.argv.slice(2);
  if (wanted[0] === "--list") {
    for (const name of cases.keys()) console.log(JSON.stringify({ case: name, argument: argumentOf(name) }));
    return;
  }
  const names = wanted.length ? wanted : [...cases.keys()];
  let failed = false;
  await Promise.all(
    names.map(async (name) => {
      const begin = Date.now();
      let error = null;
      try {
        await withDeadline(cases.get(name)(argumentOf(name)));
      } catch (thrown) {
        error = String((thrown && thrown.stack) || thrown);
        failed = true;
      }
      console.log(JSON.stringify({ case: name, error, ms: Date.now() - begin }));
    }),
  );
  // A case that hangs must not keep the process.
  process.exit(failed ? 1 : 0);
}

module.exports = { test, until, main };
