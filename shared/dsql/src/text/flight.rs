//! What is sent at once: the messages of a request, up to the Sync that ends a round trip.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::error::{ServerError, TextError};
use super::prepared::{Form, Plan};
use super::{TextRequest, TextStatement};

/// The protocol counts parameters in 16 bits.
const MAX_PARAMS: usize = 65_535;

/// Refuses a statement that cannot be sent.
pub(super) fn check(statement: &TextStatement<'_>, position: usize) -> Result<(), TextError> {
    if statement.sql.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
        return Err(refused(own("22021", message), position));
    }
    if statement.params.len() > MAX_PARAMS {
        let message = "a statement takes at most 65535 parameters";
        return Err(refused(own("54000", message), position));
    }
    Ok(())
}

/// What a request sends first: all of it, unless its last statement is made from the answers.
pub(super) fn first(request: TextRequest<'_>, plan: &Plan) -> Result<BytesMut, TextError> {
    let mut flight = BytesMut::new();
    for name in &plan.closing {
        frontend::close(b'S', &name.to_string(), &mut flight).expect("the name has no NUL");
    }
    if let Some(begin) = request.begin {
        control(&begin.sql(), &mut flight);
    }
    for (at, statement) in request.statements.iter().enumerate() {
        put(statement, plan.form(at), &mut flight).map_err(|error| refused(error, at))?;
    }
    if commits(request) {
        control("COMMIT", &mut flight);
    }
    frontend::sync(&mut flight);
    Ok(flight)
}

/// The statement that was made from the answers, and COMMIT.
pub(super) fn last(statement: &TextStatement<'_>, position: usize) -> Result<BytesMut, TextError> {
    check(statement, position)?;
    let mut flight = BytesMut::new();
    let put = put(statement, Form::Whole, &mut flight);
    put.map_err(|error| refused(error, position))?;
    control("COMMIT", &mut flight);
    frontend::sync(&mut flight);
    Ok(flight)
}

/// Whether a batch's COMMIT is sent with its statements.
pub(super) fn commits(request: TextRequest<'_>) -> bool {
    request.begin.is_some() && request.last.is_none()
}

pub(super) fn probe() -> BytesMut {
    let mut flight = BytesMut::new();
    frontend::sync(&mut flight);
    flight
}

pub(super) fn roll_back() -> BytesMut {
    let mut flight = BytesMut::new();
    control("ROLLBACK", &mut flight);
    frontend::sync(&mut flight);
    flight
}

/// Ends a COPY that waits for data, which then fails.
pub(super) fn copy_fail() -> BytesMut {
    let mut flight = BytesMut::new();
    frontend::copy_fail("no data", &mut flight).expect("the text has no NUL");
    frontend::sync(&mut flight);
    flight
}

fn control(sql: &str, flight: &mut BytesMut) {
    let statement = TextStatement {
        sql: sql.into(),
        params: Vec::new(),
    };
    put(&statement, Form::Whole, flight).expect("the text has no NUL, and there are no parameters");
}

/// Unnamed portal, parameter types left to the server, everything as text.
fn put(
    statement: &TextStatement<'_>,
    form: Form,
    flight: &mut BytesMut,
) -> Result<(), Box<ServerError>> {
    let unencodable = |_| own("08P01", "the statement is too long to be sent");
    let name = match form {
        Form::Whole => String::new(),
        Form::Prepares(name) | Form::ByName(name) => name.to_string(),
    };
    if !matches!(form, Form::ByName(_)) {
        frontend::parse(&name, &statement.sql, [], flight).map_err(unencodable)?;
    }
    let bound = frontend::bind(
        "",
        &name,
        [],
        &statement.params,
        |value, buffer| {
            Ok(match value {
                Some(text) => {
                    buffer.extend_from_slice(text.as_bytes());
                    IsNull::No
                }
                None => IsNull::Yes,
            })
        },
        [],
        flight,
    );
    bound.map_err(|_| own("08P01", "the parameters are too long to be sent"))?;
    frontend::describe(b'P', "", flight).map_err(unencodable)?;
    frontend::execute("", 0, flight).map_err(unencodable)
}

fn own(code: &str, message: &str) -> Box<ServerError> {
    Box::new(ServerError {
        severity: "ERROR".to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
        ..ServerError::default()
    })
}

fn refused(error: Box<ServerError>, at: usize) -> TextError {
    TextError::Server {
        error,
        statement: Some(at),
        attempts: 0,
    }
}
