/** Runs the unit tests of every package: bundled first, because Node 20 does not read TypeScript. */

import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const root = fileURLToPath(new URL(".", import.meta.url));
const folders = ["order/typescript", "native/express", "spin/typescript"].map((name) => join(root, name, "tests"));
const files = folders.flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join(folder, name)),
);
// The program that the tests of `express-ts` run.
execFileSync(process.execPath, [join(root, "native/express/build.mjs")]);
process.chdir(root);
const outdir = join(root, "build", "tests");
await build({
  entryPoints: files,
  outbase: root,
  outdir,
  outExtension: { ".js": ".cjs" },
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  sourcemap: "inline",
  logLevel: "warning",
});
const bundles = files.map((file) => file.replace(root, `${outdir}/`).replace(/\.ts$/, ".cjs"));
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...bundles], { stdio: "inherit" });
process.exitCode = status ?? 1;
