// Packs the npm packages: the one that starts the program, and that of a platform, which is the program.
//   node pack.mjs BINARY FOLDER [PLATFORM, such as linux-arm64]
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [binary, folder, platform = `${process.platform}-${process.arch}`] = process.argv.slice(2);
const here = import.meta.dirname;
const root = path.join(here, "../../../..");
const PLATFORMS = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"];

const [, version] = /^version = "(.+?)"/m.exec(fs.readFileSync(path.join(root, "Cargo.toml"), "utf8"));
const common = JSON.parse(fs.readFileSync(path.join(here, "package.json"), "utf8"));

/** Packs what `fill` puts into an empty folder, with this description. */
function pack(description, fill) {
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), "dsql-local-npm-"));
  try {
    fill(stage);
    for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) fs.copyFileSync(path.join(root, licence), path.join(stage, licence));
    fs.writeFileSync(path.join(stage, "package.json"), JSON.stringify({ ...description, version }, null, 2));
    execFileSync("npm", ["pack", "--silent", "--pack-destination", path.resolve(folder)], { cwd: stage, stdio: ["ignore", "inherit", "inherit"] });
  } finally {
    fs.rmSync(stage, { recursive: true });
  }
}

fs.mkdirSync(folder, { recursive: true });
const optionalDependencies = Object.fromEntries(PLATFORMS.map((name) => [`@dsql-local/${name}`, version]));
pack({ ...common, optionalDependencies }, (stage) => {
  for (const file of common.files) fs.cpSync(path.join(here, file), path.join(stage, file), { recursive: true });
});
const [system, cpu] = platform.split("-");
pack(
  {
    name: `@dsql-local/${platform}`,
    description: `The program dsql-local for ${platform}`,
    license: common.license,
    os: [system],
    cpu: [cpu],
    ...(system === "linux" ? { libc: ["glibc"] } : {}),
    files: ["bin"],
  },
  (stage) => {
    fs.mkdirSync(path.join(stage, "bin"));
    fs.copyFileSync(binary, path.join(stage, "bin/dsql-local"));
    fs.chmodSync(path.join(stage, "bin/dsql-local"), 0o755);
  },
);
