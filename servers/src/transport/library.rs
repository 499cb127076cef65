//! HTTP of profiles `stock` and `tuned`: hyper's connections, and what every request and answer of
//! theirs has in common.
//!
//! Place on the data path: between the listener and the routes. In: connections. Out: requests that
//! are asked alike in every profile, for the routes of `http`; their answers with what pages of
//! other origins may know and with whether the connection ends. `lean` does the same by itself.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;

use super::http::{Http, Refusal, Shared, router};
use super::origin::{Granted, PREFLIGHT, grant};
use super::stream::Stream;
use crate::server::listener::Listener;
use crate::shard;
use pushbench_protocol::framing::http1::{
    MAX_REQUEST_HEAD_BYTES, RequestError, is_chunked, is_host,
};
use pushbench_protocol::transport::Profile;

/// `tuned`: hyper's buffer for one connection, the smallest that it allows. Stock is 400 KiB.
pub(crate) const HTTP_BUFFER_BYTES: usize = 8 << 10;

/// Accepts connections and serves them until the runtime ends.
pub(crate) async fn serve(mut listener: Listener, shared: Shared, head_timeout: Duration) {
    let is_tuned = shared.profile != Profile::Stock;
    let service = Requests::new(shared);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(MAX_REQUEST_HEAD_BYTES);
    if is_tuned {
        builder.max_buf_size(HTTP_BUFFER_BYTES);
    }
    loop {
        let stream = Stream::new(listener.accept().await);
        let connection = builder
            .serve_connection(TokioIo::new(stream), service.clone())
            .with_upgrades();
        // A connection that fails is its client's affair; the others go on.
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

/// The routes, with what is asked of every request.
#[derive(Debug, Clone)]
struct Requests {
    routes: TowerToHyperService<Router>,
    http: Http,
}

impl Requests {
    fn new(shared: Shared) -> Self {
        let http = Http::new(shared);
        Self {
            routes: TowerToHyperService::new(router(http.clone())),
            http,
        }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN);
        let granted = grant(&self.http.origins, origin.map(HeaderValue::as_bytes));
        let mut answering = Answering {
            http: granted.is_some().then(|| self.http.clone()),
            granted,
            is_preflight: request.method() == Method::OPTIONS
                && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
            // One of HTTP/1.0 could keep it only by agreement.
            closes: request.version() == Version::HTTP_10
                || has_body(headers)
                    && (request.method() != Method::POST || request.uri().path() != "/publish"),
            answer: Either::Right(ready(Ok(Response::default()))),
        };
        answering.answer = match check(headers, request.version()) {
            Ok(()) => Either::Left(self.routes.call(request)),
            Err(error) => {
                answering.closes = true;
                Either::Right(ready(Ok(Refusal::from(error).into_response())))
            }
        };
        answering
    }
}

/// Whether a request has a body.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// What hyper lets pass and `lean` does not.
fn check(headers: &HeaderMap, version: Version) -> Result<(), RequestError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_right = match hosts.next() {
        Some(host) => is_host(host.as_bytes().trim_ascii()),
        None => version == Version::HTTP_10,
    };
    if !is_right || hosts.next().is_some() {
        return Err(RequestError::Host);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!is_chunked(coding.as_bytes()) || codings.next().is_some())
    {
        return Err(RequestError::body(coding.as_bytes()));
    }
    Ok(())
}

pin_project! {
    /// An answer to come, and what is added to it.
    struct Answering {
        #[pin]
        answer: Either<
            TowerToHyperServiceFuture<Router, Request<Incoming>>,
            Ready<Result<Response, Infallible>>,
        >,
        // Where a page of an allowed origin asks.
        http: Option<Http>,
        granted: Granted,
        is_preflight: bool,
        closes: bool,
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match std::task::ready!(this.answer.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if let Some(http) = this.http {
                share(&mut response, http, *this.granted, *this.is_preflight);
            }
            if *this.closes || shard::is_draining() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().append(header::CONNECTION, close);
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// Lets pages of the allowed origins read an answer, and answers what they ask before they send.
fn share(response: &mut Response, http: &Http, granted: Granted, is_preflight: bool) {
    if is_preflight && let Some(methods) = response.headers_mut().remove(header::ALLOW) {
        *response = (StatusCode::NO_CONTENT, PREFLIGHT).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    for (name, value) in granted.fields(&http.origins).into_iter().flatten() {
        // Origins are ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, value);
        }
    }
}
