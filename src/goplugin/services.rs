//! The services every plugin has beside its own: health, controller, standard
//! streams, broker. Contract: the `.proto` files of go-plugin's `internal/plugin`.

use std::{convert::Infallible, future::Future, pin::Pin};

use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{BoxFuture, BoxStream, Context, Poll, Service, http},
    server::{Grpc, ServerStreamingService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

/// go-plugin's own services in front of the plugin's.
#[derive(Clone)]
pub(super) struct Services<S> {
    /// Cancelled when the host says goodbye; none: nobody listens to that.
    pub(super) stop: Option<CancellationToken>,
    /// Cancelled when the server ends; streams end then.
    pub(super) end: CancellationToken,
    /// The plugin's service.
    pub(super) plugin: S,
}

impl<S> Service<http::Request<Body>> for Services<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.plugin.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let end = self.end.clone();
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => answer(grpc_unary(request, check)),
            "/grpc.health.v1.Health/Watch" => {
                let watch = move |request| Held::new(Some(check(request)), &end);
                answer(grpc_stream(request, watch))
            }
            "/plugin.GRPCController/Shutdown" => {
                let stop = self.stop.clone();
                answer(grpc_unary(request, move |(): ()| {
                    if let Some(stop) = &stop {
                        stop.cancel();
                    }
                    Ok(())
                }))
            }
            // Standard output belongs to the handshake and standard error is
            // read from its pipe: there is nothing to stream.
            "/plugin.GRPCStdio/StreamStdio" => {
                let stdio = move |(): ()| Held::<StdioData>::new(None, &end);
                answer(grpc_stream(request, stdio))
            }
            // A plugin with one service needs no second connection.
            "/plugin.GRPCBroker/StartStream" => {
                answer(async move { Grpc::new(codec()).streaming(Broker(end), request).await })
            }
            _ => Box::pin(self.plugin.call(request)),
        }
    }
}

/// Health of the whole process, which go-plugin calls `plugin`.
fn check(request: HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    match request.service.as_str() {
        "" | "plugin" => Ok(HealthCheckResponse { status: SERVING }),
        _ => Err(Status::not_found("unknown service")),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StdioData {
    #[prost(int32, tag = "1")]
    channel: i32,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConnInfo {
    #[prost(uint32, tag = "1")]
    service_id: u32,
    #[prost(string, tag = "2")]
    network: String,
    #[prost(string, tag = "3")]
    address: String,
}

fn answer(
    response: impl Future<Output = http::Response<Body>> + Send + 'static,
) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async move { Ok(response.await) })
}

fn codec<A, Q>() -> ProstCodec<A, Q>
where
    A: prost::Message + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
{
    ProstCodec::default()
}

async fn grpc_unary<Q, A>(
    request: http::Request<Body>,
    call: impl Fn(Q) -> Result<A, Status>,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
{
    Grpc::new(codec()).unary(Unary(call), request).await
}

async fn grpc_stream<Q, A>(
    request: http::Request<Body>,
    call: impl Fn(Q) -> Held<A>,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Unpin + Send + 'static,
{
    Grpc::new(codec())
        .server_streaming(Stream(call), request)
        .await
}

struct Unary<F>(F);

impl<F: Fn(Q) -> Result<A, Status>, Q, A> UnaryService<Q> for Unary<F> {
    type Response = A;
    type Future = std::future::Ready<Result<Response<A>, Status>>;
    fn call(&mut self, request: Request<Q>) -> Self::Future {
        std::future::ready((self.0)(request.into_inner()).map(Response::new))
    }
}

struct Stream<F>(F);

impl<F: Fn(Q) -> Held<A>, Q, A: Unpin> ServerStreamingService<Q> for Stream<F> {
    type Response = A;
    type ResponseStream = Held<A>;
    type Future = std::future::Ready<Result<Response<Held<A>>, Status>>;
    fn call(&mut self, request: Request<Q>) -> Self::Future {
        std::future::ready(Ok(Response::new((self.0)(request.into_inner()))))
    }
}

/// A stream that has one item at most, and stays open until the server ends.
struct Held<T> {
    first: Option<Result<T, Status>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T> Held<T> {
    fn new(first: Option<Result<T, Status>>, end: &CancellationToken) -> Self {
        Self {
            first,
            end: Box::pin(end.clone().cancelled_owned()),
        }
    }
}

impl<T: Unpin> tokio_stream::Stream for Held<T> {
    type Item = Result<T, Status>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.end.as_mut().poll(cx).map(|()| None),
        }
    }
}

/// Listens to the host's offers until it is done with them.
struct Broker(CancellationToken);

impl StreamingService<ConnInfo> for Broker {
    type Response = ConnInfo;
    type ResponseStream = BoxStream<ConnInfo>;
    type Future = std::future::Ready<Result<Response<BoxStream<ConnInfo>>, Status>>;
    fn call(&mut self, request: Request<Streaming<ConnInfo>>) -> Self::Future {
        let offers = request
            .into_inner()
            .take_while(Result::is_ok)
            .filter_map(|_| None);
        let offers = futures_util::StreamExt::take_until(offers, self.0.clone().cancelled_owned());
        std::future::ready(Ok(Response::new(Box::pin(offers) as BoxStream<ConnInfo>)))
    }
}

const SERVING: i32 = 1;
