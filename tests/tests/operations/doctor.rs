//! The doctor: what it says when all is well, and for each thing that can be wrong.

use std::time::Duration;

use dsql_local::{Faults, Refuse};
use serde_json::{Value, json};
use tests::clock::WallClock;

use crate::stack::Stack;
use crate::support::{database, invoke};

/// The failed checks and their advice.
fn faults(report: &Value) -> Vec<(String, String)> {
    report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap().to_owned();
            (text("check"), text("found") + " → " + &text("fix"))
        })
        .collect()
}

fn doctor() -> Value {
    json!({"command": "doctor"})
}

#[tokio::test]
async fn a_healthy_deployment_has_no_fault() {
    let mut stack = Stack::start().await;
    let report = stack.admin(doctor()).await;
    assert_eq!(faults(&report), [], "{report}");
    assert_eq!(report["healthy"], true);
    let early = pipelined_connect(&report);
    assert!(early.starts_with("the cluster takes it"), "{early}");
    assert!(
        early.ends_with("DSQL_PIPELINE_CONNECT=true switches it on"),
        "{early}"
    );
}

/// What was found of the token that goes with the startup message.
fn pipelined_connect(report: &Value) -> String {
    let checks = report["checks"].as_array().unwrap();
    let of_it = checks
        .iter()
        .find(|check| check["check"] == "pipelined connect");
    of_it.unwrap()["found"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn where_no_further_connection_is_to_be_had_the_rest_is_examined() {
    let stack = Stack::start().await;
    let function = stack.launch_admin().start().await;
    invoke(&function, &doctor()).await;
    let full = Faults {
        refuse_connections: Some(Refuse::TooManyConnections),
        ..Faults::default()
    };
    stack.server.set_faults(full).unwrap();
    let report = invoke(&function, &doctor()).await;
    assert_eq!(faults(&report), [], "{report}");
    let early = pipelined_connect(&report);
    assert!(early.starts_with("not tried: "), "{early}");
}

#[tokio::test]
async fn what_belongs_to_admin_in_a_login_s_schema_is_named() {
    let mut stack = Stack::start().await;
    let create = json!({"command": "create-login", "name": "blog", "access": "owner", "host": "db.example.com"});
    stack.admin(create).await;
    let report = stack.admin(doctor()).await;
    assert_eq!(faults(&report), [], "{report}");

    let db = database(&stack.server);
    db.execute_sql("CREATE VIEW blog.everything AS SELECT * FROM chats.chats")
        .await
        .unwrap();
    let report = stack.admin(doctor()).await;
    let (check, text) = faults(&report).pop().unwrap();
    assert_eq!(check, "logins", "{report}");
    for words in [
        "owned by admin: VIEW blog.everything",
        "ALTER VIEW blog.everything OWNER TO",
    ] {
        assert!(text.contains(words), "{text}");
    }
    db.execute_sql("ALTER VIEW blog.everything OWNER TO blog")
        .await
        .unwrap();
    let report = stack.admin(doctor()).await;
    assert_eq!(faults(&report), [], "{report}");
}

#[tokio::test]
async fn each_fault_is_named_with_its_remedy() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    for (name, launch, check, words) in [
        (
            "the wrong action",
            stack.launch_admin().env("DSQL_ROLE", "nobody"),
            "role",
            "run migrate with its ARN",
        ),
        (
            "an unknown key",
            stack
                .launch_admin()
                .env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWNUNKNOWN00"),
            "role",
            "",
        ),
        (
            "no credentials",
            stack.launch_admin().without("AWS_SECRET_ACCESS_KEY"),
            "credentials",
            "give the function a role",
        ),
        (
            "nobody listens",
            stack.launch_admin().env("DSQL_PORT", "9"),
            "connection",
            "nothing answers there",
        ),
        (
            "another server's certificate",
            stack.launch_admin().without("DSQL_CA_FILE"),
            "tls",
            "not trusted",
        ),
    ] {
        let function = launch.start().await;
        let report = invoke(&function, &doctor()).await;
        let found = faults(&report);
        assert!(
            found
                .iter()
                .any(|(at, text)| at == check && text.contains(words)),
            "{name}: {report}"
        );
    }

    let clock = WallClock::new();
    clock.advance(Duration::from_secs(3_600));
    let late = stack.launch_admin().clock(&clock).start().await;
    let report = invoke(&late, &doctor()).await;
    assert_eq!(faults(&report)[0].0, "clock", "{report}");

    let function = stack.launch_admin().start().await;
    stack
        .server
        .set_faults(Faults {
            refuse_connections: Some(Refuse::TooManyConnections),
            ..Faults::default()
        })
        .unwrap();
    let full = stack.launch_admin().start().await;
    let report = invoke(&full, &doctor()).await;
    assert!(
        faults(&report)[0].1.contains("ReservedConcurrency"),
        "{report}"
    );
    stack.server.set_faults(Faults::default()).unwrap();

    db.execute("DELETE FROM schema_migrations WHERE version = 5", &[])
        .await
        .unwrap();
    let report = invoke(&function, &doctor()).await;
    assert!(
        faults(&report)
            .iter()
            .any(|(at, text)| at == "schema" && text.contains("run migrate")),
        "{report}"
    );
    db.execute(
        "UPDATE schema_migrations SET checksum = 'x' WHERE version = 2",
        &[],
    )
    .await
    .unwrap();
    let report = invoke(&function, &doctor()).await;
    assert!(
        faults(&report)
            .iter()
            .any(|(_, text)| text.contains("0002_create_messages was changed")),
        "{report}"
    );
}
