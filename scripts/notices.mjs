/**
 * Writes THIRD-PARTY-NOTICES.md: every package that the lockfile installs for users, with its licence, and each licence
 * text once. `node scripts/notices.mjs` writes the file; with `--check` it fails where the file is not current.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { formatted } from "./formatted.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const target = join(root, "THIRD-PARTY-NOTICES.md");

/** Packages that ship no licence file: whose they are, as their repositories say. */
const holders = {
  "@bufbuild/protobuf": "Copyright 2021-2026 Buf Technologies, Inc.; parts Copyright 2008 Google Inc.",
  "gearhash-jit": "no holder is named in the package",
  "onnxruntime-common": "Copyright (c) Microsoft Corporation",
  "onnxruntime-node": "Copyright (c) Microsoft Corporation",
};

/** What is not a package: files of ours that were made from others'. */
const derived = `- \`src/graph/onnx/generated/onnx.ts\`: generated from \`onnx.proto\` of ONNX 1.23, Apache-2.0,
  Copyright (c) The ONNX Project Contributors`;

/** The packages of the lockfile that users get, sorted by name and version; several copies of a version count once. */
function runtimePackages() {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const found = new Map();
  for (const [path, { version, license, dev, os, cpu }] of Object.entries(packages)) {
    if (path === "" || dev) continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    // A build for one system is only installed there, so its text can't be part of a file that is the same everywhere.
    const text = os || cpu ? undefined : licenceText(path);
    found.set(`${name} ${version}`, {
      name,
      version,
      licence: license ?? "not stated",
      text,
      native: Boolean(os || cpu),
    });
  }
  return [...found.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}

function licenceText(path) {
  const folder = join(root, path);
  if (!existsSync(folder)) throw new Error(`${path} is not installed: run npm ci first`);
  const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)/i.test(name));
  if (file === undefined) return undefined;
  return readFileSync(join(folder, file), "utf8")
    .replace(/\r\n?/g, "\n")
    .replace(/[ \t]+$/gm, "")
    .trim();
}

function render() {
  const packages = runtimePackages();
  const texts = [...new Set(packages.map(({ text }) => text).filter((text) => text !== undefined))];
  const rows = packages.map(({ name, version, licence, text, native }) => {
    const where =
      text !== undefined ? `[text ${texts.indexOf(text) + 1}](#text-${texts.indexOf(text) + 1})` : note(name, native);
    return `| ${name} | ${version} | ${licence} | ${where} |`;
  });
  const sections = texts.map((text, i) => `## Text ${i + 1}\n\n${text.replace(/^/gm, "    ").replace(/ +$/gm, "")}\n`);
  return `# Third-party notices

Patchclamp itself is under the MIT licence (LICENSE). Installing it installs the packages below, which are not part of it.
This file is made by \`scripts/notices.mjs\` from the lockfile and the packages' own licence files.

Made from others' work:
${derived}

| package | version | licence | text |
| --- | --- | --- | --- |
${rows.join("\n")}

${sections.join("\n")}`;
}

function note(name, native) {
  if (native) return "that of the package it is a build of";
  if (holders[name] === undefined)
    throw new Error(`${name} ships no licence file: name its holder in ${import.meta.url}`);
  return holders[name];
}

const text = formatted(render(), "THIRD-PARTY-NOTICES.md");
if (!process.argv.includes("--check")) writeFileSync(target, text);
else if (!existsSync(target) || readFileSync(target, "utf8") !== text) {
  console.error("THIRD-PARTY-NOTICES.md is not current: run node scripts/notices.mjs");
  process.exitCode = 1;
}
