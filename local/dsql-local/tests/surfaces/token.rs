//! Which tokens open a connection, and what the others are told.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config};
use dsql_local::{Action, Principal, Secret};
use tokio_postgres::error::{DbError, SqlState};

use crate::support::{Login, admin, moody, sqlstate, steady};

fn assert_denied(refusal: &DbError, hint: &str) {
    assert_eq!(
        refusal.message(),
        "unable to accept connection, access denied"
    );
    assert_eq!(refusal.severity(), "FATAL");
    assert_eq!(refusal.code(), &SqlState::from_code("08006"));
    assert!(
        refusal.hint().unwrap().starts_with(hint),
        "{:?}",
        refusal.hint()
    );
}

#[tokio::test]
async fn a_token_of_the_aws_sdk_is_accepted() {
    let dsql = steady();
    let credentials = Credentials::new(
        &dsql.admin().access_key_id,
        dsql.admin().secret_access_key.expose(),
        None,
        None,
        "test",
    );
    let sdk = aws_types::SdkConfig::builder()
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build();
    let config = Config::builder()
        .hostname(dsql.endpoint())
        .region(aws_types::region::Region::new("us-east-1"))
        .credentials(credentials)
        .build()
        .unwrap();
    let generator = AuthTokenGenerator::new(config);
    let token = generator.db_connect_admin_auth_token(&sdk).await.unwrap();
    let login = Login {
        password: Some(token.to_string()),
        ..Login::admin(dsql)
    };
    login.connect(dsql).await.unwrap();
}

#[tokio::test]
async fn an_altered_token_is_refused() {
    let dsql = steady();
    let token = Login::admin(dsql).token();
    let last = if token.ends_with('0') { '1' } else { '0' };
    let altered = format!("{}{last}", &token[..token.len() - 1]);
    let login = Login {
        password: Some(altered),
        ..Login::admin(dsql)
    };
    assert_denied(
        &login.refusal(dsql).await,
        "The request signature we calculated does not match",
    );
}

#[tokio::test]
async fn a_token_for_another_host_or_region_is_refused() {
    let dsql = steady();
    let host = Login {
        host: "peccy.dsql.us-east-1.on.aws".into(),
        ..Login::admin(dsql)
    };
    assert_denied(
        &host.refusal(dsql).await,
        "The token was signed for host peccy.dsql.us-east-1.on.aws",
    );
    let region = Login {
        region: "eu-west-1".into(),
        ..Login::admin(dsql)
    };
    assert_denied(
        &region.refusal(dsql).await,
        "Credential should be scoped to a valid region",
    );
}

#[tokio::test]
async fn the_action_must_fit_the_user() {
    let dsql = steady();
    let login = Login {
        action: "DbConnect".into(),
        ..Login::admin(dsql)
    };
    assert_denied(
        &login.refusal(dsql).await,
        "Wrong user to action mapping. user: admin, action: DbConnect",
    );
    let login = Login {
        action: "DbConnectAdmin".into(),
        ..Login::of(dsql, "reader")
    };
    assert_denied(
        &login.refusal(dsql).await,
        "Wrong user to action mapping. user: reader, action: DbConnectAdmin",
    );
}

#[tokio::test]
async fn a_token_out_of_its_time_is_refused() {
    let dsql = steady();
    let old = Login {
        signed_at: dsql.now() - Duration::from_secs(902),
        ..Login::admin(dsql)
    };
    assert_denied(&old.refusal(dsql).await, "Signature expired: ");
    let week = Duration::from_secs(604_800);
    let longest = Login {
        signed_at: dsql.now() - week / 2,
        expires_s: week.as_secs(),
        ..Login::admin(dsql)
    };
    longest.connect(dsql).await.unwrap();
    let too_long = Login {
        expires_s: week.as_secs() + 1,
        ..Login::admin(dsql)
    };
    assert_denied(&too_long.refusal(dsql).await, "X-Amz-Expires");
    let early = Login {
        signed_at: dsql.now() + Duration::from_secs(400),
        ..Login::admin(dsql)
    };
    assert_denied(&early.refusal(dsql).await, "Signature not yet current: ");
}

#[tokio::test]
async fn an_unknown_key_and_a_plain_password_are_refused() {
    let dsql = steady();
    let login = Login {
        key: "AKIAUNKNOWN".into(),
        ..Login::admin(dsql)
    };
    assert_denied(
        &login.refusal(dsql).await,
        "The security token included in the request is invalid",
    );
    for password in ["secret", "", "\u{1F511}"] {
        let login = Login {
            password: Some(password.into()),
            ..Login::admin(dsql)
        };
        assert_denied(
            &login.refusal(dsql).await,
            "The password is not a valid authentication token",
        );
    }
}

fn principal(name: &str) -> Principal {
    Principal {
        access_key_id: format!("ASIA{name}"),
        secret_access_key: Secret::new("a secret"),
        session_token: Some(Secret::new("session/token+=")),
        arn: format!("arn:aws:sts::111122223333:assumed-role/{name}/i-0123"),
        actions: vec![Action::DbConnect],
        expires_at: None,
    }
}

fn login_of(principal: &Principal, user: &str) -> Login {
    Login {
        key: principal.access_key_id.clone(),
        secret: principal.secret_access_key.expose().into(),
        session_token: principal
            .session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
        ..Login::of(steady(), user)
    }
}

#[tokio::test]
async fn temporary_credentials_need_their_session_token_and_their_time() {
    let dsql = steady();
    let mut app = principal("TEMPORARY");
    dsql.add_principal(app.clone()).unwrap();
    let invalid = "The security token included in the request is invalid";
    let missing = Login {
        session_token: None,
        ..login_of(&app, "nobody")
    };
    assert_denied(&missing.refusal(dsql).await, invalid);
    let foreign = Login {
        session_token: Some("other".into()),
        ..login_of(&app, "nobody")
    };
    assert_denied(&foreign.refusal(dsql).await, invalid);
    let surplus = Login {
        session_token: Some("other".into()),
        ..Login::admin(dsql)
    };
    assert_denied(&surplus.refusal(dsql).await, invalid);
    app.expires_at = Some(dsql.now());
    dsql.add_principal(app.clone()).unwrap();
    let expired = login_of(&app, "nobody");
    assert_denied(
        &expired.refusal(dsql).await,
        "The security token included in the request is expired",
    );
}

#[tokio::test]
async fn a_principal_needs_permission_and_the_clusters_account() {
    let dsql = steady();
    let app = principal("LIMITED");
    dsql.add_principal(app.clone()).unwrap();
    let cluster = dsql.endpoint().split('.').next().unwrap();
    let hint = format!(
        "User: arn:aws:sts::111122223333:assumed-role/LIMITED/i-0123 is not authorized to perform: dsql:DbConnectAdmin \
         on resource: arn:aws:dsql:us-east-1:111122223333:cluster/{cluster} because no identity-based policy allows \
         the dsql:DbConnectAdmin action"
    );
    assert_denied(&login_of(&app, "admin").refusal(dsql).await, &hint);
    let stranger = Principal {
        arn: "arn:aws:iam::999999999999:user/x".into(),
        ..principal("STRANGER")
    };
    dsql.add_principal(stranger.clone()).unwrap();
    let hint = "User: arn:aws:iam::999999999999:user/x is not authorized to access this resource";
    assert_denied(&login_of(&stranger, "any").refusal(dsql).await, hint);
}

#[tokio::test]
async fn a_role_opens_only_to_the_principals_mapped_to_it() {
    let dsql = steady();
    let app = principal("MAPPED");
    dsql.add_principal(app.clone()).unwrap();
    let admin = admin(dsql).await;
    let login = login_of(&app, "mapped");
    assert_denied(&login.refusal(dsql).await, "Role mapped");
    admin
        .batch_execute("CREATE ROLE mapped WITH LOGIN")
        .await
        .unwrap();
    assert_denied(&login.refusal(dsql).await, "Role mapped");
    // Once by each protocol.
    let arn = "arn:aws:iam::111122223333:role/MAPPED";
    admin
        .execute(&format!("AWS IAM GRANT mapped TO '{arn}'"), &[])
        .await
        .unwrap();
    let session = login.connect(dsql).await.unwrap();
    let row = session
        .query_one("SELECT current_user::text, session_user::text", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1)),
        ("mapped", "mapped")
    );
    let row = admin
        .query_one("SELECT arn, pg_role_name::text, grantor_pg_role_name::text FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'mapped'", &[])
        .await
        .unwrap();
    assert_eq!(
        (
            row.get::<_, &str>(0),
            row.get::<_, &str>(1),
            row.get::<_, &str>(2)
        ),
        (arn, "mapped", "admin")
    );
    let drop = admin.batch_execute("DROP ROLE mapped").await.unwrap_err();
    assert_eq!(drop.code(), Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST));
    admin
        .batch_execute(&format!("AWS IAM REVOKE mapped FROM '{arn}';"))
        .await
        .unwrap();
    assert_denied(&login.refusal(dsql).await, "Role mapped");
    admin.batch_execute("DROP ROLE mapped").await.unwrap();
}

#[tokio::test]
async fn only_admin_grants_trust_and_only_to_login_roles_and_arns() {
    let dsql = steady();
    let admin = admin(dsql).await;
    admin
        .batch_execute("CREATE ROLE granter WITH LOGIN")
        .await
        .unwrap();
    admin.batch_execute("CREATE ROLE sleeper").await.unwrap();
    let message = async |client: &tokio_postgres::Client, sql: &str| {
        client
            .batch_execute(sql)
            .await
            .unwrap_err()
            .as_db_error()
            .unwrap()
            .message()
            .to_owned()
    };
    let arn = "arn:aws:iam::111122223333:user/dsql-local-admin";
    let grant = |role: &str, arn: &str| format!("AWS IAM GRANT {role} TO '{arn}'");
    assert_eq!(
        message(&admin, &grant("sleeper", arn)).await,
        "role sleeper must have the LOGIN attribute"
    );
    assert_eq!(
        message(&admin, &grant("absent", arn)).await,
        "Role absent does not exist"
    );
    assert_eq!(
        message(&admin, &grant("granter", "me")).await,
        "IAM role must look like an IAM ARN"
    );
    assert_eq!(
        message(&admin, &grant("postgres", arn)).await,
        "Role postgres does not exist"
    );
    assert_eq!(
        message(&admin, "AWS IAM GRANT granter").await,
        "syntax error at end of input"
    );
    admin.batch_execute(&grant("granter", arn)).await.unwrap();
    let granter = Login::of(dsql, "granter").connect(dsql).await.unwrap();
    let text = "permission denied to grant IAM trust with role sleeper";
    assert_eq!(message(&granter, &grant("sleeper", arn)).await, text);
}

#[tokio::test]
async fn privileges_take_effect_at_the_next_transaction() {
    let own = moody().await;
    let dsql = &*own;
    let admin = admin(dsql).await;
    let arn = "arn:aws:iam::111122223333:user/dsql-local-admin";
    for sql in [
        "CREATE TABLE guarded (n int)",
        "CREATE ROLE guest WITH LOGIN",
        &format!("AWS IAM GRANT guest TO '{arn}'"),
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let guest = Login::of(dsql, "guest").connect(dsql).await.unwrap();
    let read = "SELECT n FROM guarded";
    assert_eq!(sqlstate(guest.batch_execute(read).await), "42501");
    for (change, expected) in [
        ("GRANT SELECT ON guarded TO guest", None),
        ("REVOKE SELECT ON guarded FROM guest", Some("42501")),
    ] {
        guest.batch_execute("BEGIN; SELECT 1").await.unwrap();
        admin.batch_execute(change).await.unwrap();
        assert_eq!(sqlstate(guest.batch_execute(read).await), "40001");
        guest.batch_execute("ROLLBACK").await.unwrap();
        let next = guest.batch_execute(read).await;
        match expected {
            None => next.unwrap(),
            Some(code) => assert_eq!(sqlstate(next), code),
        }
    }
}

#[tokio::test]
async fn the_superuser_behind_the_front_is_out_of_reach() {
    let dsql = steady();
    assert_denied(
        &Login::of(dsql, "postgres").refusal(dsql).await,
        "Role postgres",
    );
    let admin = admin(dsql).await;
    let row = admin
        .query_one(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await
        .unwrap();
    assert!(!row.get::<_, bool>(0));
    admin.batch_execute("SET ROLE postgres").await.unwrap_err();
    admin
        .batch_execute("SET SESSION AUTHORIZATION postgres")
        .await
        .unwrap_err();
}
