// Sequelize.
import { ca, conflict, host, play, port, refused, row, same, region, table, Limit, STORY_CREATE, STORY_INDEX } from "./story.mjs";

// snippet sequelize
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { DataTypes, Sequelize } from "sequelize";
const db = new Sequelize({
  dialect: "postgres", host, port, username: "admin", database: "postgres", logging: false,
  dialectOptions: { ssl: { ca }, clientMinMessages: "ignore" }, pool: { maxUses: 500 },
});
db.addHook("beforeConnect", async (config) => {
  config.password = await new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken();
});
// end

const { TEXT, INTEGER, BIGINT, DECIMAL, BOOLEAN, DATE, JSONB, BLOB, UUID } = DataTypes;
const Item = db.define(table, {
  id: { type: UUID, primaryKey: true, defaultValue: db.literal("gen_random_uuid()") }, t: TEXT, i: INTEGER, b: BIGINT, n: DECIMAL(20, 4),
  f: BOOLEAN, at: DATE, j: JSONB, raw: BLOB, nothing: TEXT,
}, { freezeTableName: true, timestamps: false });
const select = { type: "SELECT" };

await play({
  connect: async () => {
    same((await db.query("SELECT current_user::text AS who", select))[0], { who: "admin" });
    return "without `clientMinMessages: \"ignore\"` it starts with a SET that DSQL refuses";
  },
  ddl: async () => {
    await db.query(STORY_CREATE);
    const [[{ job_id }]] = await db.query(STORY_INDEX);
    await db.query("CALL sys.wait_for_job($1)", { bind: [job_id] });
    await db.getQueryInterface().createTable(`${table}_built`, { k: { type: BIGINT, primaryKey: true }, v: TEXT });
    return "`createTable` of a table without ENUM and SERIAL; an index by `query`: `addIndex` has no ASYNC";
  },
  catalogue: async () => {
    const queries = db.getQueryInterface();
    same({ names: Object.keys(await queries.describeTable(table)).sort() }, { names: Object.keys(row).sort() });
    const names = (await queries.showAllTables()).map((shown) => shown.tableName ?? shown);
    same({ shown: names.includes(table) }, { shown: true });
    const [index] = (await queries.showIndex(table)).filter(({ primary }) => !primary);
    same({ fields: index.fields.map(({ attribute }) => attribute) }, { fields: ["t", "i"] });
    await queries.showConstraint(table);
    await queries.getForeignKeyReferencesForTable(table);
  },
  types: async () => {
    await Item.create(row);
    same((await Item.findOne({ where: { n: row.n } })).get());
    await Item.bulkCreate([1, 2, 3].map((n) => ({ t: `${n}` })));
  },
  array: async () => {
    const [found] = await db.query(`SELECT count(*)::int AS n FROM ${table} WHERE i = ANY($1)`, { ...select, bind: [[-5, 7]] });
    same(found, { n: 1 });
  },
  conflict: async () => {
    const add = (by, transaction) => Item.increment({ i: by }, { where: { id: row.id }, transaction });
    const attempt = (rival) => db.transaction(async (transaction) => {
      await add(1, transaction);
      await rival();
    });
    await conflict(attempt, () => add(10), async () => (await Item.findByPk(row.id)).i);
  },
  cancel: () => { throw new Limit("the driver's: `dialectOptions: { query_timeout }`"); },
  error: async () => {
    const violation = await refused(() => Item.create({ id: row.id }), "23505");
    same(violation, { name: "SequelizeUniqueConstraintError" });
  },
  pool: async () => {
    const found = await Promise.all([1, 2, 3, 4].map((n) => db.query("SELECT $1::int AS n", { ...select, bind: [n] })));
    same({ n: found.map(([{ n }]) => n) }, { n: [1, 2, 3, 4] });
  },
});
