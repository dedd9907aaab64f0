//! The `doctor` command: looks at everything between this function and a working database, in the
//! order in which it is needed, and says for each fault how to fix it. It changes nothing.

use std::time::{Duration, SystemTime};

use dsql::{Config, Db, Dsql, Error};
use serde_json::{Value, json};

use crate::logins;
use crate::migrate;
use crate::migrations::{self, MIGRATIONS};
use crate::roles;

/// A clock may differ from the server's by this before signatures are refused sooner or later.
const MAX_SKEW: Duration = Duration::from_secs(120);

/// A connect of its own, for comparison, may take so long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One check's result.
struct Finding {
    check: &'static str,
    ok: bool,
    found: String,
    fix: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            ok: true,
            found: found.into(),
            fix: None,
        }
    }

    fn bad(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            ok: false,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Runs every check, but leaves out those that an earlier fault hides.
pub(crate) async fn examine(dsql: &Dsql, db: &Db) -> Value {
    let mut findings = Vec::new();
    findings.push(endpoint());
    findings.push(name_resolution().await);
    match connection(dsql, db).await {
        Ok(found) => {
            findings.extend(found);
            findings.push(pipelined_connect(dsql).await);
            findings.extend(database(db).await);
        }
        Err(finding) => findings.push(finding),
    }
    let healthy = findings.iter().all(|finding| finding.ok);
    let checks: Vec<Value> = findings
        .into_iter()
        .map(|finding| {
            let (check, ok, found) = (finding.check, finding.ok, finding.found);
            match finding.fix {
                Some(fix) => json!({"check": check, "ok": ok, "found": found, "fix": fix}),
                None => json!({"check": check, "ok": ok, "found": found}),
            }
        })
        .collect();
    json!({"healthy": healthy, "checks": checks})
}

fn endpoint() -> Finding {
    // A wrong variable ends the function in Init with its name: what runs here has passed.
    match Config::from_env() {
        Ok(config) => Finding::good(
            "endpoint",
            format!(
                "{} in {}, as {}",
                config.endpoint().host(),
                config.endpoint().region(),
                config.role()
            ),
        ),
        Err(error) => Finding::bad("endpoint", error.to_string(), "set the variable it names"),
    }
}

async fn name_resolution() -> Finding {
    let Ok(config) = Config::from_env() else {
        return Finding::bad("dns", "no endpoint", "mend the endpoint first");
    };
    if runtime::from_process(dsql::DSQL_HOSTADDR).is_some() {
        return Finding::good("dns", format!("not asked: {} is set", dsql::DSQL_HOSTADDR));
    }
    let host = config.endpoint().host();
    match tokio::net::lookup_host((host, 5432)).await {
        Ok(addresses) => Finding::good("dns", format!("{} addresses", addresses.count())),
        Err(error) => Finding::bad(
            "dns",
            format!("{host}: {error}"),
            "the cluster is gone, the endpoint is of another one, or the function's VPC has no resolver",
        ),
    }
}

/// Connects, and compares clocks.
async fn connection(dsql: &Dsql, db: &Db) -> Result<Vec<Finding>, Finding> {
    let row = match db
        .query_opt_idempotent("SELECT current_user::text, now()", &[])
        .await
    {
        Ok(Some(row)) => row,
        Ok(None) => return Err(Finding::bad("connection", "no answer", "try again")),
        Err(error) => return Err(refused(&error)),
    };
    let (user, server): (String, SystemTime) = (row.get(0), row.get(1));
    let here = dsql.clock().now();
    let skew = here
        .duration_since(server)
        .or_else(|_| server.duration_since(here))
        .unwrap_or_default();
    let clock = if skew <= MAX_SKEW {
        Finding::good("clock", format!("{} s from the server's", skew.as_secs()))
    } else {
        Finding::bad(
            "clock",
            format!("{} s from the server's", skew.as_secs()),
            "synchronise this machine's clock: a token is valid by the server's",
        )
    };
    Ok(vec![
        Finding::good("credentials", "a token was signed"),
        Finding::good(
            "connection",
            format!("TLS, token and role accepted, as {user}"),
        ),
        clock,
    ])
}

/// Whether the cluster takes the token with the startup message, which no documentation says. It is
/// no fault if it does not.
async fn pipelined_connect(dsql: &Dsql) -> Finding {
    const CHECK: &str = "pipelined connect";
    let variable = dsql::DSQL_PIPELINE_CONNECT;
    let plain = match connect_once(dsql, false).await {
        Ok(time) => time,
        Err(error) => return Finding::good(CHECK, format!("not tried: {error}")),
    };
    match connect_once(dsql, true).await {
        Ok(time) => Finding::good(
            CHECK,
            format!(
                "the cluster takes it: {} ms to the first answer, {} ms without. {variable}=true switches it on",
                time.as_millis(),
                plain.as_millis()
            ),
        ),
        Err(error) => Finding::good(
            CHECK,
            format!("the cluster does not take it, {variable} stays off: {error}"),
        ),
    }
}

/// How long a connect with its first statement takes.
async fn connect_once(dsql: &Dsql, pipelined: bool) -> Result<Duration, String> {
    let config = Config::from_env().map_err(|error| error.to_string())?;
    let other = Dsql::new(config.with_pipeline_connect(pipelined));
    let begun = dsql.clock().now();
    other
        .until(begun + CONNECT_LIMIT)
        .query_idempotent("SELECT 1", &[])
        .await
        .map_err(|error| error.report())?;
    Ok(dsql.clock().now().duration_since(begun).unwrap_or_default())
}

/// What a failed connect means, by its error and the server's hint.
fn refused(error: &Error) -> Finding {
    let found = error.report();
    let (check, fix) = match error {
        Error::Token(_) => (
            "credentials",
            "give the function a role: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are missing or expired",
        ),
        Error::AccessDenied { hint, .. } => {
            let hint = hint.as_deref().unwrap_or_default();
            if hint.starts_with("Wrong user to action mapping") {
                (
                    "action",
                    "admin needs dsql:DbConnectAdmin and every other role dsql:DbConnect: set DSQL_ROLE to the role that is meant",
                )
            } else if hint.starts_with("Signature expired") || hint.starts_with("Signature not yet")
            {
                (
                    "clock",
                    "synchronise this machine's clock: a token is valid by the server's",
                )
            } else if hint.contains("is not authorized to perform") {
                (
                    "action",
                    "allow the action that the hint names on the cluster's ARN in the role's policy",
                )
            } else if hint.contains("not authorized to access this resource") {
                (
                    "credentials",
                    "the credentials belong to another account than the cluster",
                )
            } else {
                (
                    "role",
                    "map the IAM role to the database role: run migrate with its ARN in \"roles\"",
                )
            }
        }
        Error::RateLimited { .. } | Error::TooManyConnections { .. } => (
            "connection",
            "fewer containers at once: lower ReservedConcurrency, or ask for a higher quota",
        ),
        Error::WakingUp { .. } => (
            "connection",
            "the cluster was idle and is waking up: try again in a minute",
        ),
        Error::Connect { step, .. } if *step == "TLS" => (
            "tls",
            "the server's certificate is not trusted: DSQL_CA_FILE is of another server, or something is in between",
        ),
        Error::Connect { .. } | Error::Deadline { .. } => (
            "connection",
            "nothing answers there: look at security groups, VPC endpoints and the cluster's Region",
        ),
        _ => ("connection", "see docs/operations.md"),
    };
    Finding::bad(check, found, fix)
}

/// Schema, indexes and roles.
async fn database(db: &Db) -> Vec<Finding> {
    let mut findings = vec![match migrate::applied(db).await {
        Ok(applied) => {
            let pending = MIGRATIONS
                .iter()
                .filter(|migration| !applied.contains_key(&migration.version))
                .count();
            let changed = MIGRATIONS.iter().find(|migration| {
                applied
                    .get(&migration.version)
                    .is_some_and(|checksum| *checksum != migration.checksum())
            });
            let newest = applied.keys().next_back().copied().unwrap_or_default();
            let found = format!("version {newest} of {}", migrations::latest());
            match changed {
                Some(migration) => Finding::bad(
                    "schema",
                    format!("{} was changed after it was applied", migration.name),
                    "restore the file, and put the change into a new migration",
                ),
                None if pending > 0 => Finding::bad("schema", found, "run migrate"),
                None => Finding::good("schema", found),
            }
        }
        Err(error) => Finding::bad("schema", error.report(), "run migrate as admin"),
    }];
    let invalid = db
        .query_idempotent(
            "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND n.nspname = 'chats'",
            &[],
        )
        .await;
    findings.push(match invalid {
        Ok(rows) if rows.is_empty() => Finding::good("indexes", "all are valid"),
        Ok(rows) => {
            let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            Finding::bad(
                "indexes",
                format!("not valid: {}", names.join(", ")),
                "still being built (see sys.jobs), or failed: run migrate, which rebuilds it",
            )
        }
        Err(error) => Finding::bad("indexes", error.report(), "run doctor as admin"),
    });
    let roles = roles_of(db).await;
    let all_exist = roles.ok;
    findings.push(roles);
    if all_exist {
        findings.push(privileges(db).await);
    }
    findings.push(logins_of(db).await);
    findings
}

async fn roles_of(db: &Db) -> Finding {
    match roles::missing(db).await {
        Ok(missing) if missing.is_empty() => {
            Finding::good("roles", "all exist, and each is mapped to an IAM role")
        }
        Ok(missing) => Finding::bad(
            "roles",
            missing.join("; "),
            "run migrate with the ARN of each function's IAM role in \"roles\"",
        ),
        Err(error) => Finding::bad("roles", error.report(), "run doctor as admin"),
    }
}

/// What each role may do, where all roles exist.
async fn privileges(db: &Db) -> Finding {
    match roles::lacking_privileges(db).await {
        Ok(lacking) if lacking.is_empty() => {
            Finding::good("privileges", "each role may do what its function does")
        }
        Ok(lacking) => Finding::bad(
            "privileges",
            lacking.join("; "),
            "run migrate, and make fingerprint before the next deployment",
        ),
        Err(error) => Finding::bad("privileges", error.report(), "run migrate as admin"),
    }
}

/// In the schemas of logins nothing should belong to the admin.
async fn logins_of(db: &Db) -> Finding {
    match logins::of_admin(db).await {
        Ok(owned) if owned.is_empty() => {
            Finding::good("logins", "nothing in their schemas belongs to admin")
        }
        Ok(owned) => {
            let first: Vec<String> = owned.iter().take(20).map(ToString::to_string).collect();
            let alter: Vec<String> = owned
                .iter()
                .take(20)
                .map(|object| format!("ALTER {object} OWNER TO <login>;"))
                .collect();
            Finding::bad(
                "logins",
                format!(
                    "{} in schemas of logins, owned by admin: {}",
                    owned.len(),
                    first.join(", ")
                ),
                format!(
                    "views and functions there run with the rights of admin: give each to the login that it is for, as \
                     admin, or drop it. {}",
                    alter.join(" ")
                ),
            )
        }
        Err(error) if error.sqlstate() == Some("42P01") => {
            Finding::good("logins", "there is no table of logins yet")
        }
        Err(error) => Finding::bad("logins", error.report(), "run doctor as admin"),
    }
}
