//! Metrics and health over HTTP, for whoever runs the server: `/metrics`, `/healthz` and `/readyz`.
//!
//! It is a small door beside the clients', on the same runtime, and holds nobody up. A connection is for one request, and has
//! a few seconds for all of it. When there are too many, the oldest goes: whoever stalls has lost its place by the time that
//! others need it.
//!
//! - [`exposition`]: what `/metrics` says.

pub mod exposition;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::SystemTime;

use async_channel::Receiver;
use futures::io::AsyncReadExt;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol::future::{or, yield_now};
use smol_hyper::rt::FuturesIo;
use tracing::debug;

use super::accept::Door;
use super::metrics::Watch;
use super::runtime::Runtime;

/// The most connections at a time.
pub const CONNECTIONS_MAX: usize = 16;

/// How long a connection may take for everything, in milliseconds.
const CONNECTION_MS_MAX: u64 = 10_000;

/// The most bytes of a request's head. It is the least that hyper takes.
const HEAD_BYTES_MAX: usize = 8192;

/// Answers whoever connects to this listener, until it is dropped.
pub async fn serve<R: Runtime>(runtime: R, listener: R::Listener, watch: Watch) {
    let since = SystemTime::now();
    let mut door = Door::new(runtime.clone(), listener, "a connection for metrics");
    // What is dropped here is given away.
    let mut places = VecDeque::new();
    loop {
        let (stream, _) = door.accept().await;
        places.retain(|place: &async_channel::Sender<()>| !place.is_closed());
        if places.len() == CONNECTIONS_MAX {
            places.pop_front();
        }
        let (place, given_away) = async_channel::bounded(1);
        places.push_back(place);
        runtime.spawn(connection(runtime.clone(), stream, watch.clone(), since, given_away));
    }
}

/// One connection: it asks one thing, and is gone after a while whatever it does.
async fn connection<R: Runtime>(
    runtime: R,
    stream: R::Stream,
    watch: Watch,
    since: SystemTime,
    given_away: Receiver<()>,
) {
    let conversation = async {
        let mut stream = FuturesIo::new(stream);
        let service = service_fn(async |request: Request<Incoming>| {
            Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &watch, since).await)
        });
        let served = http1::Builder::new()
            .keep_alive(false)
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(&mut stream, service)
            .await;
        if let Err(error) = served {
            debug!(%error, "an HTTP connection broke");
        }
        // To close a socket that holds unread bytes would destroy what is still on its way.
        let mut rest = [0; 1024];
        while stream.get_mut().read(&mut rest).await.is_ok_and(|length| length > 0) {
            yield_now().await; // whatever comes, the timer has its turn
        }
    };
    let timer = runtime.sleep_until(runtime.now().plus(CONNECTION_MS_MAX));
    let given_away = async {
        let _ = given_away.recv().await;
    };
    or(conversation, or(timer, given_away)).await;
}

/// What is said to a request.
async fn answer(method: &Method, path: &str, watch: &Watch, since: SystemTime) -> Response<String> {
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return plain(StatusCode::NOT_FOUND, "not found: there are /metrics, /healthz and /readyz\n");
    }
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // Whatever is asked, the driver answers: a server whose driver does not is not well.
    let Some(figures) = watch.figures().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopped\n");
    };
    match path {
        "/metrics" => match exposition::render(figures, since) {
            Ok(page) => respond(StatusCode::OK, exposition::CONTENT_TYPE, page),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/readyz" if figures.told.draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => plain(StatusCode::OK, "ready\n"),
        _ => plain(StatusCode::OK, "ok\n"),
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<String> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
