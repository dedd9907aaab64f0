//! The API's description against the routers. Every answer of the other tests is held against it where they send.

use std::collections::BTreeSet;

use tests::openapi::description;

#[test]
fn every_route_of_chats_is_described_and_nothing_else() {
    let routed: BTreeSet<(String, String)> = chats::routes()
        .into_iter()
        .flat_map(|(path, methods)| {
            let methods = methods.split(", ").filter(|method| *method != "OPTIONS");
            methods.map(move |method| (method.to_owned(), path.to_owned()))
        })
        .collect();
    // A turn is `chat`'s; on this path the gateway tells the functions apart by method.
    assert_eq!(routed, description().operations("chats"));
}
