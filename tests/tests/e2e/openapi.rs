//! The API's description against the routers. Every answer of the other tests is held against it where they send.

use std::collections::BTreeSet;

use tests::openapi::description;

fn operations(routes: Vec<(&str, &str)>) -> BTreeSet<(String, String)> {
    routes
        .into_iter()
        .flat_map(|(path, methods)| {
            let methods = methods.split(", ").filter(|method| *method != "OPTIONS");
            methods.map(move |method| (method.to_owned(), path.to_owned()))
        })
        .collect()
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
