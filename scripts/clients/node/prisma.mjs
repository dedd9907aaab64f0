// Prisma's client with its adapter for node-postgres; the client is generated here, from a schema like the table's.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { Limit, ca, conflict, host, play, port, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

const folder = `${process.env.STORY_TOOLS}/node/with-prisma`;
fs.mkdirSync(folder, { recursive: true });
fs.writeFileSync(`${folder}/schema.prisma`, `
generator client {
  provider = "prisma-client-js"
  output   = "./client"
}
datasource db {
  provider = "postgresql"
}
model Item {
  id      String    @id @default(dbgenerated("gen_random_uuid()")) @db.Uuid
  t       String?
  i       Int?
  b       BigInt?
  n       Decimal?  @db.Decimal(20, 4)
  f       Boolean?
  at      DateTime? @db.Timestamptz
  j       Json?
  raw     Bytes?
  nothing String?
  @@map("${table}")
}
`);
// Migrations alone need the program that it would download.
const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath };
const generate = ["../node_modules/prisma/build/index.js", "generate", "--schema", "schema.prisma"];
execFileSync("node", generate, { cwd: folder, env, stdio: "pipe" });
const { PrismaClient, Prisma } = require(`${folder}/client`);

// snippet prisma
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { PrismaPg } from "@prisma/adapter-pg";
const adapter = new PrismaPg({
  host, port, user: "admin", database: "postgres", ssl: { ca }, maxLifetimeSeconds: 3300,
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
});
const db = new PrismaClient({ adapter });
// end

const written = { ...row, b: BigInt(row.b), n: new Prisma.Decimal(row.n) };
delete written.raw;
// At a statement, and at COMMIT.
const isLost = (error) => error.code === "P2034" || error.cause?.kind === "TransactionWriteConflict";

await play({
  connect: async () => same((await db.$queryRaw`SELECT current_user::text AS who`)[0], { who: "admin" }),
  ddl: async () => {
    await db.$executeRawUnsafe(STORY_CREATE);
    const [{ job_id }] = await db.$queryRawUnsafe(STORY_INDEX);
    await db.$executeRaw`CALL sys.wait_for_job(${job_id})`;
    return "SQL by hand; `prisma migrate` with version 6 and AWS's tool, as in [sql.md](sql.md#sessions)";
  },
  types: async () => {
    await db.item.create({ data: { ...row, b: BigInt(row.b), nothing: null } });
    const found = await db.item.findFirst({ where: { n: row.n, at: row.at } });
    same({ ...found, n: `${found.n}` }, { ...written, n: `${written.n}` });
    same({ raw: Buffer.from(found.raw) }, { raw: row.raw });
    await db.item.createMany({ data: [1, 2, 3].map((n) => ({ t: `${n}` })) });
  },
  array: async () => {
    same({ n: await db.item.count({ where: { i: { in: [-5, 7] } } }) }, { n: 1 });
    same((await db.$queryRaw`SELECT ${["x", "y,z"]}::text[] AS a`)[0], { a: ["x", "y,z"] });
  },
  conflict: async () => {
    const add = (on, by) => on.item.update({ where: { id: row.id }, data: { i: { increment: by } } });
    const attempt = (rival) => db.$transaction(async (transaction) => {
      await add(transaction, 1);
      await rival();
    }).catch((error) => { throw Object.assign(error, isLost(error) && { code: "40001" }); });
    await conflict(attempt, () => add(db, 10), async () => (await db.item.findUnique({ where: { id: row.id } })).i);
    return "a conflict at COMMIT has `error.cause.kind` `TransactionWriteConflict`, one at a statement `error.code` `P2034`";
  },
  cancel: () => { throw new Limit("the driver's: `query_timeout`"); },
  error: async () => {
    const violation = await db.item.create({ data: { id: row.id } }).then(() => null, (error) => error);
    same(violation, { code: "P2002" });
    return "a unique violation is `P2002`";
  },
});
