//! Calls of any method by its descriptor, with any bytes: what a generated client would not send.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use slipway_testkit::suite::Wire;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

/// Messages as they are on the wire.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Everything under `proto/`.
pub(crate) fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(slipway_proto::DESCRIPTORS).expect("the descriptor set decodes")
}

/// Every RPC of Slipway.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    let pool = descriptors();
    let ours = pool.services().filter(|s| s.package_name().starts_with("slipway."));
    ours.flat_map(|s| s.methods().collect::<Vec<_>>()).collect()
}

/// The number of a field of a method's policy: 1 visibility, 2 scope, 3 rate class.
pub(crate) fn policy(method: &MethodDescriptor, field: &str) -> i32 {
    let policy = descriptors().get_extension_by_name("slipway.api.v1.policy").expect("the option");
    let options = method.options();
    let value = options.get_extension(&policy);
    value.as_message().and_then(|m| m.get_field_by_name(field).and_then(|v| v.as_enum_number())).unwrap_or_default()
}

/// Whether several services have the method, so that a call must name one.
pub(crate) fn is_addressed(method: &MethodDescriptor) -> bool {
    let policy = descriptors().get_extension_by_name("slipway.api.v1.policy").expect("the option");
    let options = method.options();
    let value = options.get_extension(&policy);
    value.as_message().and_then(|m| m.get_field_by_name("addressed").and_then(|v| v.as_bool())).unwrap_or_default()
}

/// Calls a method with one message and reads the answer to its end. Where a service must be named, it is the planner.
pub(crate) async fn call(wire: &Wire, method: &MethodDescriptor, body: Vec<u8>) -> Result<Vec<Bytes>, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    call_service(wire, is_addressed(method).then_some("planner"), &path, body).await
}

/// The same by the method's path.
pub(crate) async fn call_path(wire: &Wire, path: &str, body: Vec<u8>) -> Result<Vec<Bytes>, Status> {
    call_service(wire, None, path, body).await
}

async fn call_service(wire: &Wire, service: Option<&'static str>, path: &str, body: Vec<u8>) -> Result<Vec<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(wire.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path: PathAndQuery = path.parse().expect("a path");
    let mut request = Request::new(futures::stream::iter([Bytes::from(body)]));
    if let Some(service) = service {
        request.metadata_mut().insert("slipway-service", MetadataValue::from_static(service));
    }
    let mut stream = grpc.streaming(request, path, Raw).await?.into_inner();
    let mut all = Vec::new();
    while let Some(message) = stream.message().await? {
        all.push(message);
    }
    Ok(all)
}
