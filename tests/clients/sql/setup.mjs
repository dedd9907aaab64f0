// The tables that the samples speak of.
export async function createThings(client) {
  for (const sql of [
    'DROP TABLE IF EXISTS parts',
    'DROP TABLE IF EXISTS things',
    'CREATE TABLE things (id int PRIMARY KEY, word varchar(20) NOT NULL, amount numeric(10, 2) CHECK (amount > 0))',
    'CREATE TABLE parts (id int PRIMARY KEY, thing int REFERENCES things)',
    "INSERT INTO things VALUES (1, 'one', 1.5), (2, 'two', NULL)",
  ]) await client.run(sql)
}
