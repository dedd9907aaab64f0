// A running dsql-local: its start, where it is, and its end.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { findBinary } from "./binary.mjs";

export { findBinary };

const STOP_PATIENCE_MS = 30_000;

/** Starts a local Aurora DSQL and waits until it accepts connections. */
export async function startDsqlLocal({ dataDir, controlPlane = false, arguments: further = [] } = {}) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "dsql-local-"));
  try {
    const [envFile, logFile] = [path.join(folder, "env"), path.join(folder, "log")];
    const log = await open(logFile, "w");
    const program = spawn(
      findBinary(),
      [
        "serve", "--stop-at-end-of-input", "--env-file", envFile,
        ...(dataDir === undefined ? [] : ["--data-dir", dataDir]),
        ...(controlPlane ? ["--control-plane", "127.0.0.1:0"] : []),
        ...further,
      ],
      { stdio: ["pipe", "pipe", log.fd] },
    );
    const ended = new Promise((resolve) => {
      program.once("exit", resolve);
      program.once("error", resolve);
    });
    const outcome = await Promise.race([once(program.stdout, "data").then(() => undefined), ended]);
    await log.close();
    if (outcome !== undefined) {
      const told = (await readFile(logFile, "utf8")).trim();
      throw outcome instanceof Error ? outcome : new Error(told || `dsql-local ended with ${outcome}`);
    }
    const lines = (await readFile(envFile, "utf8")).trimEnd().split("\n");
    const environment = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
    // It is no reason to go on running.
    for (const handle of [program, program.stdin, program.stdout]) handle.unref();
    program.stdout.resume();
    return new DsqlLocal(program, ended, environment);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

class DsqlLocal {
  #program;
  #ended;

  constructor(program, ended, environment) {
    this.#program = program;
    this.#ended = ended;
    this.environment = environment;
  }

  get endpoint() { return this.environment.DSQL_ENDPOINT; }
  get hostaddr() { return this.environment.DSQL_HOSTADDR; }
  get port() { return Number(this.environment.DSQL_PORT); }
  get websocketPort() { return Number(this.environment.DSQL_WEBSOCKET_PORT); }
  get caFile() { return this.environment.DSQL_CA_FILE; }
  get region() { return this.environment.AWS_REGION; }
  get principalArn() { return this.environment.DSQL_PRINCIPAL_ARN; }
  get controlPlaneUrl() { return this.environment.AWS_ENDPOINT_URL_DSQL; }

  get credentials() {
    return {
      accessKeyId: this.environment.AWS_ACCESS_KEY_ID,
      secretAccessKey: this.environment.AWS_SECRET_ACCESS_KEY,
    };
  }

  async token(user = "admin", host = this.endpoint) {
    const { DsqlSigner } = await import("@aws-sdk/dsql-signer");
    const signer = new DsqlSigner({ hostname: host, region: this.region, credentials: this.credentials });
    return user === "admin" ? signer.getDbConnectAdminAuthToken() : signer.getDbConnectAuthToken();
  }

  async pg(user = "admin", host = this.endpoint) {
    return {
      host: this.hostaddr,
      port: this.port,
      user,
      database: "postgres",
      password: () => this.token(user, host),
      ssl: { ca: await readFile(this.caFile, "utf8"), servername: host },
    };
  }

  async advance(seconds) { await this.#control("/clock", { advance_s: seconds }); }
  async resetClock() { await this.#control("/clock", { set: Math.floor(Date.now() / 1000) }); }
  async setFaults(faults = {}) { await this.#control("/faults", faults); }
  async cutConnections() { await this.#control("/connections/cut", {}); }
  async stats() { return this.#control("/stats"); }

  async stop() {
    this.#program.ref();
    const late = setTimeout(() => this.#program.kill("SIGKILL"), STOP_PATIENCE_MS);
    this.#program.stdin.end();
    await this.#ended;
    clearTimeout(late);
  }

  async [Symbol.asyncDispose]() { await this.stop(); }

  async #control(route, body) {
    const request = body && { method: "POST", body: JSON.stringify(body) };
    const answer = await fetch(this.environment.DSQL_CONTROL_URL + route, request);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.message);
    return told;
  }
}
