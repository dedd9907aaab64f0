//! Commands about logins that are cut off at every step, and run again.

use dsql::Type;
use dsql_local::{Faults, Refuse};
use serde_json::{Value, json};
use tests::function::Function;

use crate::logins::{
    HOST, command, create, database, drop_login, hash_of, hashes, leftovers, outcomes,
};
use crate::stack::Stack;

/// Of a statement that is sent whole: Parse, Bind, Describe, Execute, Sync.
const MESSAGES: u64 = 5;

/// Privileges, default privileges, mappings and memberships of a login, with its name put out of
/// sight.
async fn description(stack: &Stack, name: &str) -> Vec<String> {
    let rows = database(stack, "admin")
        .query_idempotent(
            "SELECT replace(line, $1, '<login>') FROM (
                SELECT 'schema ' || n.nspname || ' ' || a.privilege_type FROM pg_namespace n
                    CROSS JOIN LATERAL aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = $1
                UNION ALL SELECT 'on ' || n.nspname || '.' || c.relname || ' ' || a.privilege_type FROM pg_class c
                    JOIN pg_namespace n ON n.oid = c.relnamespace
                    CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                    WHERE r.rolname = $1 AND n.nspname <> 'pg_catalog'
                UNION ALL SELECT 'default ' || g.rolname || ' ' || n.nspname || ' ' || d.defaclobjtype::text || ' ' || a.privilege_type
                    FROM pg_default_acl d JOIN pg_roles g ON g.oid = d.defaclrole JOIN pg_namespace n ON n.oid = d.defaclnamespace
                    CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles r ON r.oid = a.grantee
                    WHERE r.rolname = $1
                UNION ALL SELECT 'mapping ' || arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = $1
                UNION ALL SELECT 'member ' || m.rolname FROM pg_auth_members JOIN pg_roles r ON r.oid = roleid
                    JOIN pg_roles m ON m.oid = member WHERE r.rolname = $1
                UNION ALL SELECT 'row ' || state || ' ' || length(password_hash) FROM sql_logins WHERE name = $1
             ) AS lines(line) ORDER BY 1",
            &[(&name, Type::TEXT)],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Runs `given` on a connection that is lost when message number `message` is executed and not yet
/// answered, and that cannot be made again. True if the command failed.
async fn crashes(stack: &Stack, function: &Function, given: Value, message: u64) -> bool {
    stack.server.cut_connections(); // the count begins at the connection
    let list = json!({"command": "list-logins"});
    command(function, list).await.unwrap();
    let faults = Faults {
        drop_after_message: message,
        refuse_connections: Some(Refuse::AccessDenied),
        ..Faults::default()
    };
    stack.server.set_faults(faults).unwrap();
    let outcome = command(function, given).await;
    stack.server.set_faults(Faults::default()).unwrap();
    outcome.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_is_repaired_by_the_next_run() {
    let mut stack = Stack::start().await;
    // Tables of the admin and of another login lie there already.
    stack.admin(create("elder", "owner", &["shared"])).await;
    assert_eq!(
        outcomes(
            &stack,
            "elder",
            ["CREATE TABLE shared.posts (id bigint PRIMARY KEY)"]
        )
        .await,
        ["ok"]
    );
    let db = database(&stack, "admin");
    db.execute_sql("CREATE TABLE shared.notes (id bigint PRIMARY KEY)")
        .await
        .unwrap();

    let function = stack.launch_admin().start().await;
    let before = stack.server.stats();
    let model = create("model", "owner", &["shared"]);
    command(&function, model).await.unwrap();
    let after = stack.server.stats();
    let flights = after.client_flights - before.client_flights;
    let expected = description(&stack, "model").await;
    assert!(expected.len() > 15, "{expected:?}");
    command(&function, drop_login("model", "delete"))
        .await
        .unwrap();

    // Two round trips of the listing come first on the same connection.
    let (mut crashed, mut dropped_half_way) = (0, 0);
    for flight in 3..=flights + 2 {
        let name = format!("login_{flight}");
        let given = create(&name, "owner", &["shared"]);
        let message = flight * MESSAGES;
        crashed += u32::from(crashes(&stack, &function, given.clone(), message).await);
        let report = command(&function, given).await.unwrap();
        let hash = if report["created"] == true {
            hash_of(&report)
        } else {
            // The answer was lost: nobody knows the password.
            let rotate =
                json!({"command": "rotate-login", "name": name, "graceSeconds": 0, "host": HOST});
            hash_of(&command(&function, rotate).await.unwrap())
        };
        assert_eq!(hashes(&stack, &name).await, (hash, None));
        assert_eq!(description(&stack, &name).await, expected, "{name}");

        let table = format!("CREATE TABLE shared.of_{name} (id bigint PRIMARY KEY)");
        assert_eq!(outcomes(&stack, &name, [&table]).await, ["ok"]);
        if flight % 2 == 0 {
            let drop = drop_login(&name, "keep");
            if crashes(&stack, &function, drop.clone(), message).await {
                dropped_half_way += 1;
                command(&function, drop).await.unwrap();
            }
            let left = [format!("role {name}"), "row dropped".to_owned()];
            assert_eq!(leftovers(&stack, &name).await, left);
        }
        let delete = drop_login(&name, "delete");
        if crashes(&stack, &function, delete.clone(), message).await {
            dropped_half_way += 1;
            match command(&function, delete).await {
                Ok(report) => assert_eq!(report["dropped"], true),
                // Its last step was done, and the answer lost.
                Err(message) => assert!(message.contains("there is no login"), "{message}"),
            }
        }
        assert_eq!(leftovers(&stack, &name).await, Vec::<String>::new());
    }
    assert!(
        crashed > 20 && dropped_half_way > 20,
        "{crashed} and {dropped_half_way} crashes in {flights} flights"
    );
}
