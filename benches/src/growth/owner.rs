//! One owner's growth: what requests take for owners of 20, 1,000 and 10,000 chats, and in chats of
//! 20, 100 and 490 messages (500 is the most). All lie in one database; the sizes take turns.

use std::time::{Duration, Instant, SystemTime};

use dsql::Dsql;
use serde_json::{Value, json};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::logins::as_role;

use super::load::load_chats;
use crate::Run;
use crate::report::{Report, Target};
use crate::routes::ask_any;
use crate::samples::{Samples, ms, short};
use crate::stack::{LIMIT, Stack};

/// An erasure or an export of many chats.
const LONG: Duration = Duration::from_secs(300);
/// Messages of each chat of an owner of many.
const MESSAGES_EACH: usize = 2;

/// Answers the n-th request of one size.
type Make<'a> = &'a dyn Fn(&Owner, usize) -> Request;

/// An owner and the chats, the oldest first.
struct Owner {
    name: String,
    chats: Vec<String>,
}

impl Owner {
    /// The share of each chat, in ms.
    fn each(&self, time: Duration) -> f64 {
        ms(time) / f64::from(u32::try_from(self.chats.len()).unwrap())
    }
}

/// The functions in front of the database, and how its callers show who they are.
struct Site {
    stack: Stack,
    chats: Function,
    chat: Function,
}

impl Site {
    async fn start() -> Self {
        let stack = Stack::start().await;
        Self {
            chats: stack.chats().start().await,
            chat: stack.chat().start().await,
            stack,
        }
    }

    async fn time(&self, function: &Function, owner: &Owner, request: Request) -> Duration {
        let token = self.stack.token_of(&owner.name);
        let event = request.bearer(&token).rest_event().to_string();
        let begun = Instant::now();
        ask_any(function, event).await;
        begun.elapsed()
    }

    /// Times a request for all owners in turns.
    async fn times(
        &self,
        function: &Function,
        owners: &[Owner],
        rounds: usize,
        make: Make<'_>,
    ) -> Vec<Samples> {
        let mut times = vec![Vec::new(); owners.len()];
        for round in 0..rounds + rounds / 10 {
            for (owner, times) in owners.iter().zip(&mut times) {
                let time = self.time(function, owner, make(owner, round)).await;
                if round >= rounds / 10 {
                    times.push(time);
                }
            }
        }
        times.into_iter().map(Samples::times).collect()
    }

    /// The export of all chats, read to its end, and how many bytes it had.
    async fn export(&self, owner: &Owner) -> (Duration, usize) {
        let token = self.stack.token_of(&owner.name);
        let request = Request::new("GET", "/api/me/export").bearer(&token);
        let begun = Instant::now();
        let outcome = self.chat.invoke(request.rest_event().to_string(), LONG);
        let answer = Response::from_streamed(&outcome.await.streamed());
        let elapsed = begun.elapsed();
        let text = std::str::from_utf8(&answer.body).unwrap();
        let end: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(end["chats"], owner.chats.len(), "{end}");
        (elapsed, answer.body.len())
    }

    /// The erasure, by its job.
    async fn erase(&self, jobs: &Function, owner: &Owner) -> Duration {
        let token = self.stack.token_of(&owner.name);
        let erase = Request::new("DELETE", "/api/me").bearer(&token);
        let asked = ask_any(&self.chats, erase.rest_event().to_string()).await;
        let job = json!({"jobId": asked.json()["jobId"]}).to_string();
        let begun = Instant::now();
        let report = jobs.invoke(job, LONG).await.response();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["outcome"], "done", "{report}");
        begun.elapsed()
    }
}

pub(super) async fn run(run: &Run, report: &mut Report) {
    let site = Site::start().await;
    let admin = as_role(&site.stack.base.server, "admin");
    many_chats(run, report, &site, &admin).await;
    long_chats(run, report, &site, &admin).await;
    site.stack.base.server.stop().await;
}

/// Owners of this many chats of this many messages each.
async fn load(admin: &Dsql, sizes: [(usize, usize); 3]) -> [Owner; 3] {
    let mut owners = Vec::new();
    for (chats, messages) in sizes {
        let name = format!("owner-of-{chats}-{messages}");
        let chats = load_chats(admin, &name, chats, messages).await;
        owners.push(Owner { name, chats });
    }
    let db = admin.until(SystemTime::now() + 4 * LIMIT);
    for table in ["ANALYZE chats", "ANALYZE messages"] {
        db.execute_sql(table).await.unwrap();
    }
    owners.try_into().unwrap_or_else(|_| unreachable!("three"))
}

async fn many_chats(run: &Run, report: &mut Report, site: &Site, admin: &Dsql) {
    let sizes: [usize; 3] = run.of([20, 1_000, 10_000], [20, 200, 1_000]);
    let rounds: usize = run.of(200, 40);
    let begun = Instant::now();
    let owners = load(admin, sizes.map(|chats| (chats, MESSAGES_EACH))).await;
    report.text(&format!(
        "One owner's growth, in one database that was loaded in {:.0} s: an owner's first page of chats, one from the middle, and the \
         search of a title that only the oldest chat has; an export and an erasure of everything, once each.",
        begun.elapsed().as_secs_f64(),
    ));
    let list = |_: &Owner, _| get("/api/chats?limit=10");
    let list = site.times(&site.chats, &owners, rounds, &list).await;
    let middle = |owner: &Owner, _| {
        let at = &owner.chats[owner.chats.len() / 2];
        get(&format!("/api/history?limit=10&ending_before={at}"))
    };
    let middle = site.times(&site.chats, &owners, rounds, &middle).await;
    let search = |_: &Owner, _| get("/api/chats?limit=10&q=oldest");
    let search = site.times(&site.chats, &owners, rounds, &search).await;
    let mut exports = Vec::new();
    for owner in &owners {
        let (time, bytes) = site.export(owner).await;
        assert!(bytes > owner.chats.len() * 100);
        exports.push(owner.each(time));
    }
    let jobs = site.stack.jobs().start().await;
    let mut erasures = Vec::new();
    for owner in &owners {
        erasures.push(owner.each(site.erase(&jobs, owner).await));
    }
    let rows = [
        row("list, first page", &p50s(&list)),
        row("list, a page from the middle", &p50s(&middle)),
        row("search", &p50s(&search)),
        row("export, a chat of it", &exports),
        row("erasure, a chat of it", &erasures),
    ];
    table(report, "chats", sizes, &rows);
    let [few, _, most] = sizes;
    for (what, values) in [
        ("list, first page", p50s(&list)),
        ("list, a page from the middle", p50s(&middle)),
        ("export, a chat of it", exports),
    ] {
        report.verdict(
            format!("Growth: {what}, of an owner of {most} chats, of one of {few}"),
            values[2] / values[0],
            Target::AtMost(1.5),
            "×",
        );
    }
}

async fn long_chats(run: &Run, report: &mut Report, site: &Site, admin: &Dsql) {
    let sizes: [usize; 3] = run.of([20, 100, 490], [20, 50, 200]);
    let rounds: usize = run.of(200, 40);
    let owners = load(admin, sizes.map(|messages| (1, messages))).await;
    let path = |owner: &Owner| format!("/api/chats/{}", owner.chats[0]);
    let last = |owner: &Owner, _| get(&format!("{}?limit=10", path(owner)));
    let last = site.times(&site.chats, &owners, rounds, &last).await;
    let all = |owner: &Owner, _| get(&path(owner));
    let all = site.times(&site.chats, &owners, rounds, &all).await;
    // Few, since each makes its chat longer, and 500 messages are the most.
    let send = |owner: &Owner, round: usize| {
        let message = json!({"id": format!("q{round}"), "role": "user", "parts": [{"type": "text", "text": "hi"}]});
        let body = json!({"id": owner.chats[0], "message": message, "trigger": "submit-message"});
        Request::new("POST", "/api/chat").json(&body)
    };
    let send = site.times(&site.chat, &owners, 4, &send).await;
    let rows = [
        row("get, the last 10 messages", &p50s(&last)),
        row("get, all messages", &p50s(&all)),
        row("send, with its reply", &p50s(&send)),
    ];
    table(report, "messages", sizes, &rows);
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

fn p50s(all: &[Samples]) -> Vec<f64> {
    all.iter().map(Samples::p50).collect()
}

fn table(report: &mut Report, of: &str, sizes: [usize; 3], rows: &[Vec<String>]) {
    let [few, some, most] = sizes.map(|size| format!("ms, {size} {of}"));
    report.table(&["", &few, &some, &most, "last to first"], rows);
}

fn row(name: &str, values: &[f64]) -> Vec<String> {
    let ratio = short(values[2] / values[0]);
    let values = values.iter().map(|value| short(*value));
    std::iter::once(name.to_owned())
        .chain(values)
        .chain([ratio])
        .collect()
}
