/**
 * Builds the page into `dist`, which is committed: whoever builds the server needs no node. A test
 * says whether `dist` is what the sources build to.
 */

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const root = new URL("./", import.meta.url);
const read = (path) => readFile(new URL(path, root));

/** The word list of the Rust side, as a module. */
export async function wordsModule() {
  const words = (await read("../../src/proto/words.txt")).toString().trim().split("\n");
  const lines = [];
  for (let at = 0; at < words.length; at += 9) lines.push(words.slice(at, at + 9).join(" "));
  return `/** The words of codes; made by build.js from src/proto/words.txt. */\nexport const WORDS = \`\n${lines.join("\n")}\n\`.trim().split(/\\s+/);\n`;
}

/** Every file of the page, by its name. */
export async function page() {
  const options = {
    absWorkingDir: new URL(".", root).pathname,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    // The licences of what is bundled ask for it.
    legalComments: "eof",
    write: false,
    outdir: "dist",
  };
  const { outputFiles: app } = await build({ ...options, entryPoints: ["src/app.js", "src/style.css"] });
  const { outputFiles: workers } = await build({ ...options, format: "iife", entryPoints: ["src/worker.js", "src/keep.js"] });
  const files = new Map([...app, ...workers].map(({ path, contents }) => [path.split("/").pop(), Buffer.from(contents)]));
  for (const name of await readdir(new URL("static/", root))) files.set(name, await read(`static/${name}`));
  return files;
}

async function main() {
  await writeFile(new URL("src/proto/words.js", root), await wordsModule());
  const files = await page();
  await mkdir(new URL("dist/", root), { recursive: true });
  for (const [name, contents] of files) {
    await writeFile(new URL(`dist/${name}`, root), contents);
    const hash = createHash("sha256").update(contents).digest("hex").slice(0, 16);
    console.log(`${name}: ${contents.length} bytes, ${hash}`);
  }
}

if (process.argv[1] === new URL(import.meta.url).pathname) await main();
