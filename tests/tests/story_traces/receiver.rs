//! A receiver of spans: a socket, and the messages of OTLP as its own definitions have them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// What came in one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) head: Vec<String>,
    pub(crate) about: Vec<KeyValue>,
    pub(crate) spans: Vec<Span>,
}

/// A receiver and what came to it.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    came: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let receiver = Self {
            port: listener.local_addr()?.port(),
            came: Arc::default(),
        };
        let ours = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ours = ours.clone();
                // Whoever goes away in the midst of it is no matter here.
                std::thread::spawn(move || drop(ours.take(stream)));
            }
        });
        Ok(receiver)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Spans of a trace, in the order in which they came.
    pub(crate) fn spans(&self, trace: u128) -> Vec<Span> {
        let all = self.requests().into_iter().flat_map(|request| request.spans);
        all.filter(|span| span.trace_id == trace.to_be_bytes()).collect()
    }

    fn take(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim_end().to_ascii_lowercase());
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap_or("0").parse()?];
        reader.read_exact(&mut body)?;
        let mut request = Request {
            head,
            ..Request::default()
        };
        for of_resource in ExportTraceServiceRequest::decode(&body[..])?.resource_spans {
            request
                .about
                .extend(of_resource.resource.unwrap_or_default().attributes);
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            request.spans.extend(spans);
        }
        self.came
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
        )?;
        Ok(())
    }
}

/// A text that is said of something.
pub(crate) fn said<'a>(about: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = about.iter().find(|pair| pair.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
