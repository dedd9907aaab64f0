# Ruby's pg: what came of each step is a JSON object a line. See run.py for the variables.
require "json"
require "pg"
require "securerandom"
require "bigdecimal"

TABLE = ENV["STORY_TABLE"]
ID = SecureRandom.uuid

class Limit < StandardError; end

def connect
  host, port, ca, token = ENV.values_at("DSQL_ENDPOINT", "DSQL_PORT", "DSQL_CA_FILE", "STORY_TOKEN")
  # snippet
  session = PG.connect(host: host, port: port, user: "admin", dbname: "postgres", password: token,
                       sslmode: "verify-full", sslrootcert: ca)
  # end
  session.type_map_for_results = PG::BasicTypeMapForResults.new(session)
  session
end

def same(found, expected)
  raise "#{found.inspect}, not #{expected.inspect}" unless found == expected
end

def step(name)
  held, note = true, yield
rescue Limit => limit
  held, note = nil, limit.message
rescue StandardError => error
  held, note = false, "#{error.class}: #{error.message.gsub(/\s+/, ' ')}"
ensure
  puts JSON.generate(step: name, held: held, note: note.is_a?(String) ? note : nil)
end

$session = nil
step("connect") do
  $session = connect
  same($session.exec("SELECT current_user::text").getvalue(0, 0), "admin")
end
step("ddl") do
  $session.exec(ENV["STORY_CREATE"])
  $session.exec_params("CALL sys.wait_for_job($1)", [$session.exec(ENV["STORY_INDEX"]).getvalue(0, 0)])
end
step("types") do
  names = %w[id t i b n f at j raw nothing]
  row = [ID, "naïve ✓", -5, 9_007_199_254_740_993, BigDecimal("1234567.89"), true, "2026-11-30 12:34:56.789012+00", '{"a": [1, null]}']
  raw = { value: "\0\xFF\\".b, format: 1 }
  marks = (1..names.size).map { |n| "$#{n}" }
  written = [*row[0, 4], row[4].to_s("F"), *row[5..], raw, nil]
  $session.exec_params("INSERT INTO #{TABLE} (#{names.join(', ')}) VALUES (#{marks.join(', ')})", written)
  found = $session.exec_params("SELECT * FROM #{TABLE} WHERE id = $1", [ID])[0]
  same(found.values_at("id", "t", "i", "b", "n", "f", "nothing"), [*row[0, 6], nil])
  same(found["raw"], raw[:value])
  same(found["at"], Time.utc(2026, 11, 30, 12, 34, 56, 789_012))
  same(found["j"], { "a" => [1, nil] }) unless found["j"].is_a?(String)
  $session.prepare("named", "SELECT t FROM #{TABLE} WHERE i = $1")
  3.times { same($session.exec_prepared("named", [-5]).getvalue(0, 0), "naïve ✓") }
  $session.copy_data("COPY #{TABLE} (t) FROM STDIN") { $session.put_copy_data("copied\n") }
  "`prepare` and `exec_prepared`, binary parameters, `copy_data` too"
end
step("array") do
  among = PG::TextEncoder::Array.new(elements_type: PG::TextEncoder::Integer.new).encode([-5, 7])
  same($session.exec_params("SELECT count(*) FROM #{TABLE} WHERE i = ANY($1::int[])", [among]).getvalue(0, 0), 1)
end
step("conflict") do
  add = "UPDATE #{TABLE} SET i = i + $1::int WHERE id = $2"
  writer = connect
  [1, 2].each do |attempt|
    writer.transaction do
      writer.exec_params(add, [1, ID])
      $session.exec_params(add, [10, ID]) if attempt == 1
    end
    same(attempt, 2)
  rescue PG::TRSerializationFailure => lost
    same([lost.result.error_field(PG::PG_DIAG_SQLSTATE), attempt], ["40001", 1])
  end
  same($session.exec_params("SELECT i FROM #{TABLE} WHERE id = $1", [ID]).getvalue(0, 0), 6)
end
step("cancel") do
  victim = connect
  victim.send_query("SELECT pg_sleep(2)")
  victim.cancel
  begin
    victim.get_last_result
  rescue PG::QueryCanceled
    next nil
  end
  raise Limit, "`cancel` sends a CancelRequest, which has no effect: the statement goes on"
end
step("error") do
  $session.exec_params("INSERT INTO #{TABLE} (id) VALUES ($1)", [ID])
  raise "no error"
rescue PG::UniqueViolation => violation
  same(violation.result.error_field(PG::PG_DIAG_CONSTRAINT_NAME), "#{TABLE}_pkey")
end
