/** Builds `build/express-ts.cjs`: the program and everything it stands on in one file. Needs no network. */

import { chmodSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const folder = dirname(fileURLToPath(import.meta.url));
const program = join(folder, "build", "express-ts.cjs");

await build({
  absWorkingDir: folder,
  entryPoints: ["src/main.ts"],
  outfile: program,
  bundle: true,
  platform: "node",
  // The Dapr SDK is CommonJS.
  format: "cjs",
  target: "node20",
  banner: { js: "#!/usr/bin/env node" },
  logLevel: "warning",
});
chmodSync(program, 0o755);
