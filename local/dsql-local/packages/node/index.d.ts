/** The program's path: that of `DSQL_LOCAL_BIN`, or of this platform's package. */
export function findBinary(): string;

export interface Options {
  /** Keeps what is otherwise thrown away at the end. */
  dataDir?: string;
  /** Opens the API that makes further clusters. */
  controlPlane?: boolean;
  /** Further arguments of `dsql-local serve`. */
  arguments?: string[];
}

/** Starts a local Aurora DSQL and waits until it accepts connections. */
export function startDsqlLocal(options?: Options): Promise<DsqlLocal>;

/** A running one. It ends with `stop()`, at the end of an `await using`, or with this process. */
export interface DsqlLocal extends AsyncDisposable {
  /** The variables that configure a client, those of `dsql.env`. */
  readonly environment: Record<string, string>;
  /** The cluster's host name: for SNI, certificate check and token. */
  readonly endpoint: string;
  /** The address to connect to instead of resolving that name. */
  readonly hostaddr: string;
  readonly port: number;
  /** The port of PostgreSQL over WebSocket, which a cluster has at 443. */
  readonly websocketPort: number;
  /** The certificate to trust. */
  readonly caFile: string;
  readonly region: string;
  /** The principal of the credentials, for `AWS IAM GRANT`. */
  readonly principalArn: string;
  readonly credentials: { accessKeyId: string; secretAccessKey: string };
  /** `endpoint` of the SDK's `DSQLClient`, with `controlPlane`. */
  readonly controlPlaneUrl: string | undefined;
  /** A token for a user, of this cluster or the one at `host`, by `@aws-sdk/dsql-signer`. */
  token(user?: string, host?: string): Promise<string>;
  /** The configuration of a `Client` or `Pool` of node-postgres. */
  pg(user?: string, host?: string): Promise<{
    host: string;
    port: number;
    user: string;
    database: string;
    password: () => Promise<string>;
    ssl: { ca: string; servername: string };
  }>;
  /**
   * Moves the clock that token expiry, connection life and the connect rate go by. Signers go by the real one: their
   * tokens are as much older then.
   */
  advance(seconds: number): Promise<void>;
  /** Sets that clock to the real time. */
  resetClock(): Promise<void>;
  /** Replaces all faults; without any there are none. */
  setFaults(faults?: Record<string, unknown>): Promise<void>;
  /** Closes all connections, as at the end of their 60 minutes. */
  cutConnections(): Promise<void>;
  /** Counters since the start. */
  stats(): Promise<Record<string, unknown>>;
  /** Stops it and waits until PostgreSQL and what is to be thrown away are gone. */
  stop(): Promise<void>;
}
