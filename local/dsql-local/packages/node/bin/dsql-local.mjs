#!/usr/bin/env node
// The program itself.
import { spawn } from "node:child_process";
import { findBinary } from "../binary.mjs";

const program = spawn(findBinary(), process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => program.kill(signal));
program.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
program.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
