// TypeORM.
import "reflect-metadata";
import { EntitySchema } from "typeorm";
import { ca, conflict, host, play, port, refused, row, same, region, table, Limit, STORY_CREATE, STORY_INDEX } from "./story.mjs";

const column = (type, more = {}) => ({ type, nullable: true, ...more });
const Item = new EntitySchema({
  name: "Item", tableName: table,
  columns: {
    id: { type: "uuid", primary: true, generated: "uuid" }, t: column("text"), i: column("int"), b: column("bigint"),
    n: column("numeric", { precision: 20, scale: 4 }), f: column("boolean"), at: column("timestamptz"), j: column("jsonb"),
    raw: column("bytea"), nothing: column("text"),
  },
});

// snippet typeorm
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { DataSource } from "typeorm";
const db = new DataSource({
  type: "postgres", host, port, username: "admin", database: "postgres", ssl: { ca }, entities: [Item],
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
  installExtensions: false, uuidExtension: "pgcrypto", migrationsTransactionMode: "none",
  extra: { maxLifetimeSeconds: 3300 },
});
// end

await play({
  connect: async () => {
    await db.initialize();
    same((await db.query("SELECT current_user::text AS who"))[0], { who: "admin" });
    return "without `installExtensions: false` it asks for an extension, which DSQL does not have";
  },
  ddl: async () => {
    await db.query(STORY_CREATE);
    const [{ job_id }] = await db.query(STORY_INDEX);
    await db.query("CALL sys.wait_for_job($1)", [job_id]);
  },
  catalogue: async () => {
    const runner = db.createQueryRunner();
    const found = await runner.getTable(table);
    same({ names: found.columns.map(({ name }) => name).sort() }, { names: Object.keys(row).sort() });
    await runner.release();
    const { upQueries } = await db.driver.createSchemaBuilder().log();
    const changes = upQueries.map(({ query }) => query.replace(/ "[^ ]*/g, ""));
    same({ changes }, { changes: ["DROP INDEX"] });
    return "`synchronize` finds the table as the entity has it, and would drop an index that is not in the entity";
  },
  types: async () => {
    const items = db.getRepository(Item);
    await items.insert(row);
    same(await items.findOneBy({ n: row.n }));
    await items.save([1, 2, 3].map((n) => ({ t: `${n}` })));
  },
  array: async () => {
    const among = db.getRepository(Item).createQueryBuilder("item").where("item.i = ANY(:among)", { among: [-5, 7] });
    same({ n: await among.getCount() }, { n: 1 });
  },
  conflict: async () => {
    const add = (on, by) => on.increment(Item, { id: row.id }, "i", by);
    const attempt = (rival) => db.transaction(async (transaction) => {
      await add(transaction, 1);
      await rival();
    });
    await conflict(attempt, () => add(db.manager, 10), async () => (await db.manager.findOneBy(Item, { id: row.id })).i);
    return "`db.transaction` without a level: DSQL has one, and takes no other name";
  },
  cancel: () => { throw new Limit("the driver's: `extra: { query_timeout }`"); },
  error: async () => { await refused(() => db.getRepository(Item).insert({ id: row.id }), "23505"); },
  pool: async () => {
    const found = await Promise.all([1, 2, 3, 4].map((n) => db.query("SELECT $1::int AS n", [n])));
    same({ n: found.map(([{ n }]) => n) }, { n: [1, 2, 3, 4] });
  },
});
