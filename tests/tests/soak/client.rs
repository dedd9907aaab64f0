//! Owns requests as clients send them, each on a connection of its own, and what a client knows
//! afterwards: done, refused, or not known. What no client may meet is a violation at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::model::{Model, Outcome};
use crate::world::{NAME, World};

/// The longest that a client waits for the first byte: 30 s, and what a stopped container and a
/// busy machine add.
const FIRST_BYTE: Duration = Duration::from_secs(35);
/// The longest to the last one; no reply here takes more than some seconds once it has begun.
const DEADLINE: Duration = Duration::from_secs(75);

/// A request to send.
pub(crate) struct Call<'a> {
    pub(crate) name: &'a str,
    /// For the figures: method and route.
    pub(crate) route: &'static str,
    pub(crate) method: &'a str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// What came back.
pub(crate) struct Answer {
    /// 0: the connection ended without one.
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The body came to its end.
    pub(crate) is_whole: bool,
    /// A fault killed or stopped the container that served it.
    pub(crate) is_harmed: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What the client knows of a write that is one transaction.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.status {
            200..=299 if self.is_whole => Outcome::Done,
            400..=499 => Outcome::Refused,
            503 if self.code() == "unavailable" => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }

    /// The same where a part of it may have been done before it was refused.
    pub(crate) fn outcome_of_many(&self) -> Outcome {
        match self.outcome() {
            Outcome::Refused if self.status >= 500 => Outcome::Unknown,
            other => other,
        }
    }

    /// A stream's chunks; `None` for what is not `JSON`, such as `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Option<Value>> {
        let text = String::from_utf8_lossy(&self.body);
        text.split_inclusive("\n\n")
            .filter_map(|event| event.strip_suffix("\n\n"))
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
            .map(|data| serde_json::from_str(data).ok())
            .collect()
    }

    fn is_stream(&self) -> bool {
        self.body.starts_with(b"data: ") || self.body.starts_with(b":")
    }

    /// Whether a stream ended as none may: whole, without a terminal chunk, from a container that
    /// was left alone.
    fn is_without_end(&self) -> bool {
        self.status == 200 && self.is_whole && !self.is_harmed && self.terminal().is_none()
    }

    /// The type of the chunk that ended a stream, if one did.
    pub(crate) fn terminal(&self) -> Option<String> {
        let chunks = self.chunks();
        let [.., last, None] = chunks.as_slice() else {
            return None;
        };
        let kind = last.as_ref()?["type"].as_str()?.to_owned();
        ["finish", "abort", "error"]
            .contains(&kind.as_str())
            .then_some(kind)
    }
}

impl Call<'_> {
    /// Sends it, and holds the answer to what holds for every route.
    pub(crate) async fn send(self, world: &World, model: &Model) -> Answer {
        let (name, route) = (self.name.to_owned(), self.route);
        let begun = Instant::now();
        let answer = tokio::time::timeout(DEADLINE, self.exchange(world, model)).await;
        let answer = answer.unwrap_or_else(|_| {
            model.violation(&name, &format!("{route} did not end within {DEADLINE:?}"));
            Answer {
                status: 0,
                body: Bytes::new(),
                is_whole: false,
                is_harmed: false,
            }
        });
        let is_harmed = world.witness.was_harmed(&name);
        let answer = Answer {
            is_harmed,
            ..answer
        };
        model.count(route, (answer.status, answer.code()), begun.elapsed());
        let is_unanswered = matches!(answer.status, 0 | 502 | 504) || !answer.is_whole;
        // 502 is also the API's own word for a model that refuses.
        let is_gateways = answer.code().is_empty();
        if is_unanswered && is_gateways && !is_harmed {
            let text = String::from_utf8_lossy(&answer.body);
            let text: String = text.chars().take(200).collect();
            model.violation(
                &name,
                &format!(
                    "{route}: {} from a container that lives: {text}",
                    answer.status
                ),
            );
        }
        let denied_until = model.facts().denied_until;
        if answer.is_without_end() && answer.is_stream() {
            let what = format!(
                "{route}: a stream without an end, {}",
                world.witness.tell(&name)
            );
            model.violation(&name, &what);
        }
        if answer.status == 500 && denied_until.is_none_or(|until| until < begun) {
            model.violation(&name, &format!("{route}: {}", answer.json()));
        }
        answer
    }

    async fn exchange(self, world: &World, model: &Model) -> Answer {
        let begun = Instant::now();
        let lost = |body: Vec<u8>, status| Answer {
            status,
            body: body.into(),
            is_whole: false,
            is_harmed: false,
        };
        let address = world.api.trim_start_matches("http://");
        let Ok(stream) = TcpStream::connect(address).await else {
            return lost(Vec::new(), 0);
        };
        let Ok((mut sender, connection)) = handshake(TokioIo::new(stream)).await else {
            return lost(Vec::new(), 0);
        };
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.target)
            .header("host", "localhost")
            .header(NAME, self.name);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let exchange = async {
            let Ok(response) = sender.send_request(request).await else {
                return lost(Vec::new(), 0);
            };
            let status = response.status().as_u16();
            let waited = begun.elapsed();
            if waited > FIRST_BYTE {
                let what = format!("{}: {status} after {waited:?}", self.route);
                model.violation(self.name, &what);
            }
            let (mut body, mut bytes) = (response.into_body(), Vec::new());
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                    Err(_) => return lost(bytes, status),
                }
            }
            Answer {
                status,
                body: bytes.into(),
                is_whole: true,
                is_harmed: false,
            }
        };
        tokio::pin!(exchange, connection);
        let mut is_open = true;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    }
}
