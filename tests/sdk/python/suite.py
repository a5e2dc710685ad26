"""Runs the cases of one suite side by side and prints one JSON line for each: what the Rust side reads.

A case is a function with @case; its name is the function's, its one argument what the suite gives it. Cases share
nothing, so they run in threads. One that does not end by the deadline is reported as failed.
"""

import concurrent.futures
import json
import os
import sys
import time
import traceback

CASE_DEADLINE_SECONDS = 60
THREADS = 12

_cases = {}


def case(function):
    """Registers a case under its function's name."""
    _cases[function.__name__] = function
    return function


def until(what, condition, deadline_seconds=20):
    """Asks `condition` until it gives something true, and returns that; fails with the last value at the deadline.

    `condition` itself waits a little (a receive with a max_wait_time, say), so this loop needs no pause.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {deadline_seconds} s for {what}; last: {value!r}")


def raises(kinds, action):
    """Runs `action`, which must fail with one of these exceptions, and returns it."""
    try:
        result = action()
    except kinds as error:
        return error
    raise AssertionError(f"expected {kinds}, and it went well: {result!r}")


def equal(found, expected, what=""):
    """Fails with both values when they differ."""
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"


def main(argument_of):
    """Runs every case with `argument_of(name)`, or those named on the command line; `--list` only tells them."""
    if sys.argv[1:] == ["--list"]:
        for name in _cases:
            print(json.dumps({"case": name, "argument": argument_of(name)}))
        return
    names = sys.argv[1:] or list(_cases)

    def run(name):
        begin = time.monotonic()
        error = None
        try:
            _cases[name](argument_of(name))
        except BaseException:  # whatever it is, it belongs to this case
            error = traceback.format_exc()
        return error, round((time.monotonic() - begin) * 1000)

    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    futures = {name: pool.submit(run, name) for name in names}
    failed = False
    for name, future in futures.items():
        try:
            error, took_ms = future.result(CASE_DEADLINE_SECONDS)
        except concurrent.futures.TimeoutError:
            error, took_ms = f"not done after {CASE_DEADLINE_SECONDS} s", CASE_DEADLINE_SECONDS * 1000
        print(json.dumps({"case": name, "error": error, "ms": took_ms}), flush=True)
        failed = failed or error is not None
    # A case that hangs must not keep the process.
    os._exit(1 if failed else 0)
