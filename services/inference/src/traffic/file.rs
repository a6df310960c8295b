//! The file format: a request's head and body, a response's head, and its body byte by byte.

use bytes::Bytes;
use futures::stream::{self, BoxStream};

const REQUEST_END: &str = " HTTP/1.1";
const RESPONSE: &str = "HTTP/1.1 ";

/// One request and the response to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The request's path and query.
    pub target: String,
    /// Its headers, without any that could hold a key.
    pub request_headers: Vec<(String, String)>,
    /// Its body: JSON on one line.
    pub request_body: Vec<u8>,
    /// The response's status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body as it came.
    pub body: Vec<u8>,
}

pub(super) type Chunks = BoxStream<'static, std::io::Result<Bytes>>;

impl Recording {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let first = line(&mut rest).ok_or("is empty")?;
        let target = first.strip_prefix("POST ").and_then(|l| l.strip_suffix(REQUEST_END));
        let target = target.ok_or_else(|| format!("begins with \"{first}\", not with POST, a path and HTTP/1.1"))?.to_owned();
        let request_headers = headers(&mut rest)?;
        let mut recording = Self { target, request_headers, ..Self::default() };
        let mut next = line(&mut rest).ok_or("has no response")?;
        if !next.starts_with(RESPONSE) {
            recording.request_body = next.into_bytes();
            next = line(&mut rest).filter(|l| l.is_empty()).and_then(|_| line(&mut rest)).ok_or("has no response")?;
        }
        let status = next.strip_prefix(RESPONSE).and_then(|s| s.get(..3)?.parse().ok());
        recording.status = status.ok_or_else(|| format!("has \"{next}\" where its response should begin"))?;
        recording.headers = headers(&mut rest)?;
        recording.body = rest.to_vec();
        Ok(recording)
    }

    /// As it is written to a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = |headers: &[(String, String)]| headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect::<String>();
        let mut bytes = format!("POST {}{REQUEST_END}\n{}\n", self.target, head(&self.request_headers)).into_bytes();
        if !self.request_body.is_empty() {
            bytes.extend_from_slice(&self.request_body);
            bytes.extend_from_slice(b"\n\n");
        }
        let reason = http_reason(self.status);
        bytes.extend_from_slice(format!("{RESPONSE}{} {reason}\n{}\n", self.status, head(&self.headers)).as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The response with a body of one's own.
    pub(super) fn response(&self, body: Chunks) -> reqwest::Response {
        let mut response = http::Response::new(reqwest::Body::wrap_stream(body));
        *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        for (name, value) in &self.headers {
            let name = name.parse::<http::HeaderName>();
            if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_str(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response.into()
    }

    /// The body in one piece.
    pub(super) fn whole(&self) -> Chunks {
        Box::pin(stream::iter([Ok(Bytes::copy_from_slice(&self.body))]))
    }
}

fn http_reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("")
}

// A line without its end, which is LF or CR LF.
fn line(rest: &mut &[u8]) -> Option<String> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|b| *b == b'\n');
    let (line, after) = end.map_or((*rest, &rest[rest.len()..]), |end| (&rest[..end], &rest[end + 1..]));
    *rest = after;
    Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
}

fn headers(rest: &mut &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    loop {
        let line = line(rest).ok_or("ends within its headers")?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("\"{line}\" is no header"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}
