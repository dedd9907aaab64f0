// Reads the report of create-login or rotate-login, and prints the connection string in it; nothing if it holds none.
//   node scripts/connection-string.mjs REPORT
const report = JSON.parse(process.argv[2]);
if (report.errorMessage) {
  console.error(report.errorMessage);
  process.exit(1);
}
if (report.connectionString) console.log(report.connectionString);
