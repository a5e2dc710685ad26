/** Log lines on stderr, in the form of the lab's other programs; stdout has only the line with the address. */

import type { LoggerService } from "@dapr/dapr";

/** Writes one line. */
export type Log = (
  level: "DEBUG" | "ERROR" | "INFO" | "WARN",
  message: string,
  fields?: Record<string, string>,
) => void;

export const log: Log = (level, message, fields = {}) => {
  const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
  // A line is a line, whatever a message quotes.
  const line = `${message}${pairs.join("")}`.replaceAll("\n", "\\n");
  process.stderr.write(`${new Date().toISOString()} ${level.padStart(5)} express-ts: ${line}\n`);
};

/** What the SDK says, through the same log. */
export function sdkLogger(log: Log): LoggerService {
  const at = (level: Parameters<Log>[0]) => {
    return (message: unknown, ...more: unknown[]) => {
      log(level, [message, ...more].map(String).join(" "));
    };
  };
  return { error: at("ERROR"), warn: at("WARN"), info: at("INFO"), verbose: at("DEBUG"), debug: at("DEBUG") };
}
