// Makes dist/ from the page's own modules (../web/js/net and what they import), and its type declarations from their JSDoc.
// Needs TypeScript in ../web/node_modules: `make js` installs it first.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, "../web/js");
const dist = join(here, "dist");

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, "lib"), { recursive: true });
cpSync(join(page, "net"), join(dist, "net"), { recursive: true });
for (const file of ["lib/emitter.js", "lib/sleep.js", "types.js"]) cpSync(join(page, file), join(dist, file));
cpSync(join(here, "src/index.js"), join(dist, "index.js"));
execFileSync(process.execPath, [join(here, "../web/node_modules/typescript/bin/tsc"), "--project", join(here, "tsconfig.json")], { stdio: "inherit" });
