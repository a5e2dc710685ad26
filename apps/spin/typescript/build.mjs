/** Builds `build/spin-ts.wasm`: bundles the sources and makes a component of them. Needs no network. */

import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { SpinEsbuildPlugin } from "@spinframework/build-tools/plugins/esbuild/index.js";
import { build } from "esbuild";

const COMPONENT = "build/spin-ts.wasm";

// Both tools look for the package's interfaces from the folder that they run in.
const folder = dirname(fileURLToPath(import.meta.url));
process.chdir(folder);
rmSync("build", { recursive: true, force: true });
await build({
  absWorkingDir: folder,
  entryPoints: ["src/index.ts"],
  outfile: "build/bundle.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  plugins: [await SpinEsbuildPlugin()],
  logLevel: "warning",
});
const tools = createRequire(import.meta.url).resolve("@spinframework/build-tools/package.json");
const j2w = join(dirname(tools), "dist", "index.js");
execFileSync(process.execPath, [j2w, "-i", "build/bundle.js", "-o", COMPONENT], { stdio: "inherit" });
// It ends with 0 when it has failed, too.
if (!existsSync(COMPONENT)) {
  process.exitCode = 1;
}
