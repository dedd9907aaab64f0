//! The API's description against the routers. Every answer of the other tests is held against it
//! where they send.

use std::collections::BTreeSet;

use tests::openapi::description;

fn operations(routes: Vec<(&str, impl AsRef<str>)>) -> BTreeSet<(String, String)> {
    let mut operations = BTreeSet::new();
    for (path, methods) in routes {
        let methods = methods.as_ref().split(", ");
        let methods = methods.filter(|method| *method != "OPTIONS");
        operations.extend(methods.map(|method| (method.to_owned(), path.to_owned())));
    }
    operations
}

#[test]
fn every_route_is_described_and_nothing_else() {
    assert_eq!(
        operations(chats::routes()),
        description().operations("chats")
    );
    assert_eq!(operations(chat::routes()), description().operations("chat"));
    let of_sql = operations(vec![("/token", "POST")]); // /sql is the Neon driver's
    assert_eq!(of_sql, description().operations("sql"));
}
