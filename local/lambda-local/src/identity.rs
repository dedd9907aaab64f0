//! Owns who the functions are: credentials of their roles, and of the roles that those may assume,
//! known to the database with what each role's policies allow.

use std::collections::BTreeMap;

use dsql_local::{Action, DsqlLocal, Principal, Secret, StartError};

use crate::application::{Application, Function, Role};
use crate::bucket::Caller;
use crate::sts::{AssumableRole, Keys};

/// The actions that the local DSQL knows, as policies name them.
const ACTIONS: [(&str, Action); 2] = [
    ("dsql:DbConnect", Action::DbConnect),
    ("dsql:DbConnectAdmin", Action::DbConnectAdmin),
];

/// The credentials of one stack.
#[derive(Debug)]
pub(crate) struct Identities {
    /// By the function's logical id.
    functions: BTreeMap<String, Keys>,
    pub(crate) assumable: Vec<AssumableRole>,
}

impl Identities {
    /// New credentials for everyone in the template.
    ///
    /// # Errors
    /// The database does not take a principal.
    pub(crate) fn new(
        application: &Application,
        account: &str,
        database: Option<&DsqlLocal>,
    ) -> Result<Self, StartError> {
        let known = |role: &Role, session: &str| {
            let keys = Keys::random();
            if let Some(database) = database {
                database.add_principal(principal(role, account, session, &keys))?;
            }
            Ok::<_, StartError>(keys)
        };
        let mut functions = BTreeMap::new();
        for function in &application.functions {
            let role = role_of(application, function);
            let keys = role.map_or_else(|| Ok(Keys::random()), |role| known(role, &function.name));
            functions.insert(function.logical_id.clone(), keys?);
        }
        let mut assumable = Vec::new();
        let can_be_assumed = |role: &&Role| !role.trusted.is_empty();
        for role in application.roles.iter().filter(can_be_assumed) {
            let trusted = application.functions.iter().filter(|function| {
                let arn = function.role_arn.as_ref();
                arn.is_some_and(|arn| role.trusted.contains(arn))
            });
            let trusted = trusted.filter_map(|function| functions.get(&function.logical_id));
            assumable.push(AssumableRole {
                arn: role.arn.clone(),
                trusted: trusted.map(|keys| keys.access_key_id.clone()).collect(),
                keys: known(role, "local")?,
            });
        }
        Ok(Self {
            functions,
            assumable,
        })
    }

    /// The functions as callers of buckets, with what their roles allow.
    pub(crate) fn callers(&self, application: &Application) -> Vec<Caller> {
        let caller = |function: &Function| {
            let role = role_of(application, function)?;
            Some(Caller {
                keys: self.functions.get(&function.logical_id)?.clone(),
                actions: role.allowed_actions.clone(),
            })
        };
        application.functions.iter().filter_map(caller).collect()
    }

    /// The variables of a function that hold its credentials.
    pub(crate) fn variables(&self, function: &Function) -> Vec<(&'static str, String)> {
        let keys = self.functions.get(&function.logical_id);
        let variables = keys.map(|keys| {
            [
                ("AWS_ACCESS_KEY_ID", keys.access_key_id.clone()),
                ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.clone()),
                ("AWS_SESSION_TOKEN", keys.session_token.clone()),
            ]
        });
        variables.into_iter().flatten().collect()
    }
}

fn role_of<'a>(application: &'a Application, function: &Function) -> Option<&'a Role> {
    let arn = function.role_arn.as_ref()?;
    application.roles.iter().find(|role| role.arn == *arn)
}

/// A session of a role, with what its policies allow.
fn principal(role: &Role, account: &str, session: &str, keys: &Keys) -> Principal {
    let name = role.arn.rsplit('/').next().unwrap_or_default();
    let allows = |action: &str| {
        let mut names = ["dsql:*", "*", action].into_iter();
        names.any(|name| role.allowed_actions.contains(name))
    };
    Principal {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: Secret::new(keys.secret_access_key.clone()),
        session_token: Some(Secret::new(keys.session_token.clone())),
        arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
        actions: ACTIONS
            .into_iter()
            .filter(|(name, _)| allows(name))
            .map(|(_, action)| action)
            .collect(),
        expires_at: None,
    }
}
