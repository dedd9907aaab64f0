// Where the program is: in the package of this platform, unless DSQL_LOCAL_BIN names another one.
import { createRequire } from "node:module";

/** The program's path. */
export function findBinary() {
  const { DSQL_LOCAL_BIN } = process.env;
  if (DSQL_LOCAL_BIN) return DSQL_LOCAL_BIN;
  const name = `@dsql-local/${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/bin/dsql-local`);
  } catch {
    throw new Error(`${name} is not installed: optional dependencies were left out, or there is none for this platform; DSQL_LOCAL_BIN may name the program`);
  }
}
