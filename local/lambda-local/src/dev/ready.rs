//! Owns what is there once the stack runs: the login `blog` with its connection string, the
//! variables for other programs, and the text that says what to try.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use lambda_local::stack::Stack;
use serde_json::{Value, json};

/// The login that is made.
const LOGIN: &str = "blog";
const ADMIN: &str = "AdminFunction";

/// Brings the schema up to date with the `admin` that was built: its migrations may be newer than
/// the template says.
///
/// # Errors
/// `admin` fails.
pub(crate) async fn migrate(stack: &Stack) -> Result<(), Box<dyn std::error::Error>> {
    let command = json!({ "command": "migrate" }).to_string();
    match stack.invoke(ADMIN, command).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the migration failed: {error}").into()),
    }
}

/// Makes the login where it is missing, and gives its connection string. The password is shown
/// once, so it is kept in `file`, beside the data that it opens; where that file is lost, a new
/// password is made.
///
/// # Errors
/// `admin` refuses, or the file cannot be written.
pub(crate) async fn connection_string(
    stack: &Stack,
    file: &Path,
) -> Result<String, Box<dyn std::error::Error>> {
    let create = json!({ "command": "create-login", "name": LOGIN, "access": "owner" });
    if let Some(made) = ask_admin(stack, &create).await? {
        keep(file, &made)?;
        return Ok(made);
    }
    match fs::read_to_string(file) {
        Ok(kept) if !kept.trim().is_empty() => return Ok(kept.trim().to_owned()),
        _ => {}
    }
    let rotate = json!({ "command": "rotate-login", "name": LOGIN, "graceSeconds": 0 });
    let made = ask_admin(stack, &rotate)
        .await?
        .ok_or("rotate-login gave no connection string")?;
    keep(file, &made)?;
    Ok(made)
}

async fn ask_admin(
    stack: &Stack,
    command: &Value,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let answer = stack
        .invoke(ADMIN, command.to_string())
        .await
        .map_err(|error| format!("the login was not made: {error}"))?;
    let report: Value = serde_json::from_slice(&answer)?;
    Ok(report
        .get("connectionString")
        .and_then(Value::as_str)
        .map(str::to_owned))
}

/// Writes a file that only its owner may read.
pub(crate) fn keep(path: &Path, text: &str) -> io::Result<()> {
    // Made again, so that the mode holds for a file that was there before.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", text.trim_end())
}

/// `NAME=value` lines that a shell and `node --env-file` read alike.
pub(crate) fn env_lines(variables: &[(String, String)]) -> String {
    let is_plain = |value: &str| {
        value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:@+=,%".contains(c))
    };
    variables
        .iter()
        .map(|(name, value)| {
            if is_plain(value) {
                format!("{name}={value}\n")
            } else {
                format!("{name}='{}'\n", value.replace('\'', r"'\''"))
            }
        })
        .collect()
}

/// What to try.
pub(crate) fn text(
    api: &str,
    invoke: &str,
    connection: &str,
    state: &str,
    control: &str,
) -> String {
    format!(
        r#"
Ready. A chat page: {api}/

Ask something; the reply streams:

  . {state}/dev.env
  curl -sN -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"id":"first","message":{{"id":"m1","role":"user","parts":[{{"type":"text","text":"Hello DSQL"}}]}}}}' \
    "$API_URL/api/chat"

List the chats:

  . {state}/dev.env
  curl -s -H "Authorization: Bearer $TOKEN" "$API_URL/api/chats"

The connection string, for the unmodified Neon driver:

  {connection}

  curl -s -H "Neon-Connection-String: {connection}" -d '{{"query":"SELECT now()"}}' "{api}/sql"

In Node: npm install @neondatabase/serverless, then save as hello.mjs and run DATABASE_URL='{connection}' node hello.mjs

  import {{ neon, neonConfig }} from '@neondatabase/serverless';
  neonConfig.fetchEndpoint = '{api}/sql';
  const sql = neon(process.env.DATABASE_URL);
  await sql`CREATE TABLE IF NOT EXISTS claps (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), post text, emoji text)`;
  const add = (emoji) => sql`INSERT INTO claps (post, emoji) VALUES (${{'hello'}}, ${{emoji}})`;
  await sql.transaction([add('👍'), add('🎉')]);
  console.log(await sql`SELECT emoji, count(*) FROM claps GROUP BY emoji`);

In a Worker: the same, with DATABASE_URL as a secret:

  import {{ neon, neonConfig }} from '@neondatabase/serverless';
  neonConfig.fetchEndpoint = '{api}/sql';
  export default {{
    async fetch(request, env) {{
      const sql = neon(env.DATABASE_URL);
      return Response.json(await sql`SELECT emoji, count(*) FROM claps GROUP BY emoji`);
    }},
  }};

A session of the same login, for psql, pools and transactions: its token, and where to connect. DSQL_PORT in the variables
is the database's port, DSQL_WEBSOCKET_PORT that of PostgreSQL over WebSocket:

  curl -s -X POST -H "Neon-Connection-String: {connection}" "{api}/token"

Schedules and the queue run by themselves: titles and erasures come within a minute or two. To run one now:

  curl -s -d '{{"task":"relay"}}' {invoke}/2015-03-31/functions/maintenance/invocations

A function that is built again is replaced at its next request: cargo build --bin chats
Look into the database server: curl -s {control}/stats
Variables: {state}/dev.env · logs: {state}/logs/ · stop: Ctrl-C
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_variables_as_they_are() {
        let variables = [
            ("PLAIN", "http://127.0.0.1:9000"),
            ("QUOTED", r#"{"keys":[{"x":"it's $HOME"}]}"#),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let script = format!(
            "{}\nprintf '%s|%s' \"$PLAIN\" \"$QUOTED\"",
            env_lines(&variables)
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let expected = format!("{}|{}", variables[0].1, variables[1].1);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
