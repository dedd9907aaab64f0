//! Growth: what requests and maintenance take with a thousand, a hundred thousand, a million
//! messages stored: the real functions on three databases, with one owner, a hundred and a
//! thousand, of 20 chats with 50 messages each. Requests take turns between the three.

mod load;
mod owner;

use std::time::{Duration, Instant, SystemTime};

use dsql::{Dsql, Type};
use serde_json::{Value, json};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::logins::as_role;

use self::load::{CHATS, MESSAGES, Owners};
use crate::Run;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{LIMIT, Stack};

/// A database with functions in front.
struct Site {
    stack: Stack,
    admin: Dsql,
    chats: Function,
    chat: Function,
    maintenance: Function,
    owners: Owners,
    random: fastrand::Rng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Ready,
    List,
    ListFurther,
    Get,
    GetLast,
    Rename,
    Delete,
    Send,
    Purge,
    Reap,
}

const WORKS: [(Work, &str); 10] = [
    (Work::Ready, "the floor: `SELECT 1`"),
    (Work::List, "list, first page"),
    (Work::ListFurther, "list, second page"),
    (Work::Get, "get, all messages"),
    (Work::GetLast, "get, last messages"),
    (Work::Rename, "rename"),
    (Work::Delete, "delete a new chat"),
    (Work::Send, "send, with its reply"),
    (Work::Purge, "purge of one chat"),
    (Work::Reap, "reap, nothing due"),
];

impl Site {
    async fn start(owners: usize) -> Self {
        let stack = Stack::start().await;
        let admin = as_role(&stack.base.server, "admin");
        let owners = Owners::load(&admin, owners, 20_261_125).await;
        let db = admin.until(SystemTime::now() + 4 * LIMIT);
        for table in ["ANALYZE chats", "ANALYZE messages"] {
            db.execute_sql(table).await.unwrap();
        }
        Self {
            admin,
            chats: stack.chats().start().await,
            chat: stack.chat().start().await,
            maintenance: stack.maintenance().start().await,
            stack,
            owners,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn request(&self, owner: &str, method: &str, path: &str) -> Request {
        Request::new(method, path).bearer(&self.stack.token_of(owner))
    }

    async fn ask(&self, request: &Request) -> Value {
        let event = request.rest_event().to_string();
        let answer = self.chats.invoke(event, LIMIT).await.response();
        let answer = Response::from_answer(&answer);
        assert!(answer.status < 300, "{} {}", answer.status, answer.json());
        answer.json()
    }

    async fn new_chat(&self, owner: &str) -> String {
        let new = self
            .request(owner, "POST", "/api/chats")
            .json(&json!({"message": {"parts": [{"type": "text", "text": "hi"}]}}));
        self.ask(&new).await["id"].as_str().unwrap().to_owned()
    }

    /// Does a work once, for anyone, and tells how long its request took.
    async fn time(&mut self, work: Work) -> Duration {
        let mut random = self.random.fork();
        let owner = self.owners.any(&mut random).to_owned();
        let (chats_owner, chat) = self.owners.any_chat(&mut random);
        let (chats_owner, chat) = (chats_owner.to_owned(), chat.to_owned());
        let path = format!("/api/chats/{chat}");
        let request = match work {
            Work::Ready => Request::new("GET", "/api/ready"),
            Work::List => self.request(&owner, "GET", "/api/chats?limit=10"),
            Work::ListFurther => {
                let first = self.request(&owner, "GET", "/api/chats?limit=10");
                let cursor = self.ask(&first).await["nextCursor"].clone();
                let path = format!("/api/chats?limit=10&cursor={}", cursor.as_str().unwrap());
                self.request(&owner, "GET", &path)
            }
            Work::Get => self.request(&chats_owner, "GET", &path),
            Work::GetLast => self.request(&chats_owner, "GET", &format!("{path}?limit=10")),
            Work::Rename => self
                .request(&chats_owner, "PATCH", &path)
                .json(&json!({"title": "Renamed"})),
            Work::Delete => {
                let path = format!("/api/chats/{}", self.new_chat(&owner).await);
                self.request(&owner, "DELETE", &path)
            }
            Work::Send => {
                let id = format!("u{:016x}", random.u64(..));
                let message =
                    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": "hi"}]});
                let body = json!({"id": chat, "message": message, "trigger": "submit-message"});
                let send = self.request(&chats_owner, "POST", "/api/chat").json(&body);
                return self.time_send(&send).await;
            }
            Work::Purge => {
                let expired = self.new_chat(&owner).await;
                let db = self.admin.until(SystemTime::now() + LIMIT);
                let expire =
                    "UPDATE chats SET expires_at = now() - interval '3 days' WHERE id = $1";
                db.execute(expire, &[(&expired, Type::TEXT)]).await.unwrap();
                let (time, report) = self.time_maintenance("purge").await;
                assert_eq!(report["deleted"]["chats"], 1, "{report}");
                return time;
            }
            Work::Reap => return self.time_maintenance("reap").await.0,
        };
        let event = request.rest_event().to_string();
        let begun = Instant::now();
        let outcome = self.chats.invoke(event, LIMIT).await;
        let elapsed = begun.elapsed();
        let answer = Response::from_answer(&outcome.response());
        assert!(answer.status < 300, "{} {}", answer.status, answer.json());
        if work == Work::List {
            assert_eq!(answer.json()["items"].as_array().unwrap().len(), 10);
        }
        elapsed
    }

    async fn time_send(&self, request: &Request) -> Duration {
        let event = request.rest_event().to_string();
        let begun = Instant::now();
        let outcome = self.chat.invoke(event, LIMIT).await;
        let elapsed = begun.elapsed();
        let said = Response::from_streamed(&outcome.streamed());
        let body = String::from_utf8(said.body.to_vec()).unwrap();
        assert!(body.contains(r#""type":"finish""#), "{body}");
        elapsed
    }

    async fn time_maintenance(&self, task: &str) -> (Duration, Value) {
        let event = json!({"task": task}).to_string();
        let begun = Instant::now();
        let report = self.maintenance.invoke(event, LIMIT).await;
        let elapsed = begun.elapsed();
        let report: Value = serde_json::from_slice(&report.response()).unwrap();
        assert_eq!(report["complete"], true, "{report}");
        (elapsed, report)
    }
}

pub(crate) async fn run(run: &Run, report: &mut Report) {
    let sizes: [usize; 3] = run.of([1, 100, 1_000], [1, 10, 100]);
    let samples: usize = run.of(400, 60);
    report.section("Growth");
    let begun = Instant::now();
    let mut sites = Vec::new();
    for owners in sizes {
        sites.push(Site::start(owners).await);
    }
    let messages = sizes.map(|owners| owners * CHATS * MESSAGES);
    report.text(&format!(
        "Three databases, with {} owners of {CHATS} chats of {MESSAGES} messages each, loaded by the import that visitors use, below the \
         row cap of a transaction, in {:.0} s. The real functions do each work for anyone among them, in turns between the three. \
         What DSQL's storage makes of such numbers is not measured by this: only that no statement looks at more rows.",
        sizes.map(|owners| owners.to_string()).join(", "),
        begun.elapsed().as_secs_f64(),
    ));
    let mut found = Vec::new();
    for (work, name) in WORKS {
        let mut times = [const { Vec::new() }; 3];
        for round in 0..samples + samples / 10 {
            for turn in 0..sites.len() {
                let at = (round + turn) % sites.len();
                let time = sites[at].time(work).await;
                if round >= samples / 10 {
                    times[at].push(time);
                }
            }
        }
        found.push((work, name, times.map(Samples::times)));
    }
    tell(report, messages, &found);
    for site in sites {
        site.stack.base.server.stop().await;
    }
    owner::run(run, report).await;
}

fn tell(report: &mut Report, messages: [usize; 3], found: &[(Work, &str, [Samples; 3])]) {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(_, name, all)| {
            let [few, _, most] = all;
            let medians = all.iter().map(|samples| short(samples.p50()));
            let ratios = [most.p50() / few.p50(), most.p99() / few.p99()].map(short);
            std::iter::once((*name).to_owned())
                .chain(medians)
                .chain(ratios)
                .collect()
        })
        .collect();
    let heads = messages.map(|messages| format!("p50 ms, {messages} messages"));
    report.table(
        &["", &heads[0], &heads[1], &heads[2], "last to first", "p99"],
        &rows,
    );
    for (work, name, [few, _, most]) in found {
        if matches!(
            work,
            Work::List | Work::ListFurther | Work::Get | Work::GetLast
        ) {
            report.verdict(
                format!(
                    "Growth: {name} at {} messages, of the same at {}",
                    messages[2], messages[0]
                ),
                most.p50() / few.p50(),
                Target::AtMost(1.5),
                "×",
            );
        }
    }
    let points = |samples: &[Samples; 3]| {
        messages
            .iter()
            .zip(samples)
            .map(|(x, samples)| (f64::from(u32::try_from(*x).unwrap()), samples.p50()))
            .collect()
    };
    let lines = found
        .iter()
        .filter(|(work, ..)| {
            matches!(
                work,
                Work::List | Work::Get | Work::Rename | Work::Delete | Work::Purge
            )
        })
        .map(|(_, name, samples)| ((*name).to_owned(), points(samples)))
        .collect();
    report.plot(
        "growth",
        &Plot::Lines {
            title: "p50 in ms by stored messages".to_owned(),
            x: "messages",
            lines,
        },
    );
}
