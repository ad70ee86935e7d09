//! Images out of Docker, over its socket.
//!
//! API: <https://docs.docker.com/reference/api/engine/version/v1.44/#tag/Image/operation/ImageGet>.
//! The answer is what `docker save` writes, and goes by once. Before that, the image's id
//! is asked for: what is remembered under that id is not sent again. Podman answers the same way.

use std::{
    borrow::Cow,
    ffi::OsString,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Error, Image, docker, stream, work::Work};

/// Where Docker listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    /// `DOCKER_HOST`, when it is set.
    host: Option<String>,
    /// `DOCKER_TLS_VERIFY` is set.
    wants_tls: bool,
    /// Sockets to look for otherwise.
    sockets: Vec<PathBuf>,
}

impl Daemon {
    /// What the environment says: `DOCKER_HOST`, or else the sockets of Docker (the machine's, and
    /// this user's own) and of podman.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_string_lossy().into_owned())
        };
        let below = |variable: &str, path: &str| set(variable).map(|it| Path::new(&it).join(path));
        let [docker, podman] = SOCKETS.map(|path| Some(PathBuf::from(path)));
        let sockets = [
            docker,
            below("XDG_RUNTIME_DIR", "docker.sock"),
            below("HOME", ".docker/run/docker.sock"),
            below("XDG_RUNTIME_DIR", "podman/podman.sock"),
            podman,
        ];
        Self {
            host: set("DOCKER_HOST"),
            wants_tls: set("DOCKER_TLS_VERIFY").is_some(),
            sockets: sockets.into_iter().flatten().collect(),
        }
    }

    fn address(&self) -> Result<Address, Error> {
        if let Some(host) = &self.host {
            return match Address::parse(host)? {
                Address::Tcp(_) if self.wants_tls => Err(Error::Daemon {
                    address: format!("DOCKER_HOST {host:?}"),
                    problem: "is to be spoken to over TLS (DOCKER_TLS_VERIFY), which is not done; save the image to a file and write docker-archive:FILE".to_owned(),
                    is_missing: false,
                }),
                address => Ok(address),
            };
        }
        let usual = SOCKETS.map(PathBuf::from);
        let sockets = match self.sockets.as_slice() {
            [] => &usual[..],
            sockets => sockets,
        };
        let found = sockets.iter().find(|path| path.exists());
        found
            .map(|path| Address::Unix(path.clone()))
            .ok_or_else(|| Error::Daemon {
                address: "Docker".to_owned(),
                problem: format!(
                    "is not found: there is no {}; start Docker or podman's service, or set DOCKER_HOST, or save the image to a file and write docker-archive:FILE",
                    sockets
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect::<Vec<_>>()
                        .join(", no ")
                ),
                is_missing: false,
            })
    }
}

/// A name, or an id, that may go into a request.
pub(super) fn checked_name(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("it names no image".to_owned());
    }
    let is_plain = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '/' | ':' | '@')
    };
    let is_name = name.chars().all(is_plain)
        && name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if !is_name {
        return Err("what follows docker-daemon: is no name of an image".to_owned());
    }
    Ok(name.to_owned())
}

/// Reads an image from Docker.
pub(super) fn load(work: &Work<'_>, name: &str) -> Result<Image, Error> {
    let address = work.options.daemon.address()?;
    let connection = Connection {
        address: &address,
        stop: work.stop,
    };
    let id = connection.image_id(name)?;
    let key = format!("docker-daemon\n{address}\n{id}");
    let _turn = work.loader.turns().take(&key, work.stop)?;
    let incomplete = |error| match error {
        Error::MissingEntry { entry, .. } if entry != docker::LIST => {
            connection.incomplete(name, &entry)
        }
        Error::MissingBlob { digest, .. } => connection.incomplete(name, digest.as_str()),
        error => error,
    };
    if let Some((archive, is_of_this_run)) = stream::remembered(work, &key) {
        match docker::load(work, &archive, None) {
            // Of the same image the daemon may have had less then: platforms that were pulled
            // since, or layers.
            Err(error) if error.is_incomplete() && !is_of_this_run => {
                tracing::debug!(reason = %error, "Reading an image from the daemon again");
            }
            loaded => return loaded.map_err(incomplete),
        }
    }
    let request = format!("/images/{}/get", escaped(&tagged(name, &id)));
    let mut answer = connection.get(&request, FIRST_BYTE)?;
    if answer.status != 200 {
        return Err(connection.refused(name, &mut answer));
    }
    let mut body = Named {
        body: answer.body,
        connection: &connection,
    };
    let archive = stream::open_stream(work, Some(&key), Path::new(work.shown), &mut body)?;
    docker::load(work, &archive, None).map_err(incomplete)
}

/// The name of one image. A daemon shows the image with the tag `latest` for a name without a
/// tag, but saves those with any; and what looks like a name may be the beginning of an id.
fn tagged<'a>(name: &'a str, id: &str) -> Cow<'a, str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_id = id.strip_prefix("sha256:").unwrap_or(id).starts_with(name);
    if last.contains([':', '@']) || is_id {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name}:latest"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        let refused = |problem: &str| Error::Daemon {
            address: format!("DOCKER_HOST {text:?}"),
            problem: problem.to_owned(),
            is_missing: false,
        };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http", authority)) => {
                let authority = authority.trim_end_matches('/');
                let has_port = authority
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
                let is_plain = !authority.contains(|it: char| {
                    it.is_whitespace() || it.is_control() || matches!(it, '/' | '@')
                });
                match has_port && is_plain {
                    true => Ok(Self::Tcp(authority.to_owned())),
                    false => Err(refused("is no host and port")),
                }
            }
            Some((kind, _)) => Err(refused(&format!(
                "is of the kind {kind}, and only unix:// and tcp:// are spoken; save the image to a file and write docker-archive:FILE"
            ))),
            None => Err(refused("is no address such as unix:///var/run/docker.sock")),
        }
    }

    fn host(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A daemon, which gets a new connection for every request.
struct Connection<'a> {
    address: &'a Address,
    stop: &'a CancellationToken,
}

/// A body whose errors say where it came from.
struct Named<'a> {
    body: Body,
    connection: &'a Connection<'a>,
}

impl Read for Named<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            match error.downcast::<Error>() {
                Ok(error) => error.into(),
                Err(error) => self
                    .connection
                    .failed(format!("broke off while it sent the image: {error}"))
                    .into(),
            }
        })
    }
}

struct Answer {
    status: u16,
    body: Body,
}

impl Connection<'_> {
    fn failed(&self, problem: impl Into<String>) -> Error {
        Error::Daemon {
            address: self.address.to_string(),
            problem: problem.into(),
            is_missing: false,
        }
    }

    /// The image came without something that belongs to it: a daemon that keeps images with
    /// containerd does not fetch layers that it has unpacked from another image.
    fn incomplete(&self, name: &str, lacks: &str) -> Error {
        self.failed(format!(
            "gives the image {name:?} without {lacks:?}, so it does not have all of it; write docker:// and the name in the registry it was pulled from, or remove it and all images with the same layers, and pull it again"
        ))
    }

    fn image_id(&self, name: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Inspected {
            #[serde(rename = "Id")]
            id: String,
        }
        let mut answer = self.get(&format!("/images/{}/json", escaped(name)), ANSWER)?;
        if answer.status != 200 {
            return Err(self.refused(name, &mut answer));
        }
        let text = answer
            .text()
            .map_err(|error| Error::unwrap_io(error, &self.address.to_string()))?;
        match serde_json::from_str::<Inspected>(&text) {
            Ok(inspected) if !inspected.id.is_empty() => Ok(inspected.id),
            _ => Err(self.failed("does not answer as Docker does")),
        }
    }

    /// The error in an answer.
    fn refused(&self, name: &str, answer: &mut Answer) -> Error {
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        let text = answer.text().unwrap_or_default();
        let message = serde_json::from_str(&text)
            .map(|Message { message }| message)
            .unwrap_or(text);
        let message: String = message.chars().take(300).collect();
        let message = message.trim().escape_debug().to_string();
        Error::Daemon {
            address: self.address.to_string(),
            problem: match answer.status {
                404 => format!(
                    "has no image {name:?}; build or pull it first, or write a name that docker images lists"
                ),
                status => format!("does not give the image {name:?} (status {status}: {message})"),
            },
            is_missing: answer.status == 404,
        }
    }

    /// Sends a request, and waits for the head of the answer.
    fn get(&self, target: &str, patience: Duration) -> Result<Answer, Error> {
        let mut wire = self.connect()?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: terraform-provider-ocir\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.address.host()
        );
        let sent = wire.write_all(request.as_bytes());
        sent.map_err(|error| self.failed(format!("cannot be written to: {error}")))?;
        let mut reader = BufReader::with_capacity(
            BUFFER,
            Waiting {
                wire,
                stop: self.stop.clone(),
                patience,
            },
        );
        let (status, framing) =
            head(&mut reader).map_err(|error| match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => self.failed(format!("does not answer as Docker does: {error}")),
            })?;
        reader.get_mut().patience = IDLE;
        Ok(Answer {
            status,
            body: Body { reader, framing },
        })
    }

    fn connect(&self) -> Result<Wire, Error> {
        let refused = |error: io::Error| {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "; add this user to the group that owns the socket, or save the image to a file and write docker-archive:FILE"
                }
                _ => {
                    "; start it, or set DOCKER_HOST, or save the image to a file and write docker-archive:FILE"
                }
            };
            self.failed(format!("cannot be reached: {error}{advice}"))
        };
        let wire = match self.address {
            Address::Unix(path) => Wire::Unix(UnixStream::connect(path).map_err(refused)?),
            Address::Tcp(authority) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                let mut found = None;
                for address in authority.to_socket_addrs().map_err(refused)? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            found = Some(stream);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                Wire::Tcp(found.ok_or_else(|| refused(last))?)
            }
        };
        wire.set_timeouts().map_err(refused)?;
        Ok(wire)
    }
}

impl Answer {
    fn text(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        (&mut self.body).take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Reading gives up often, to look whether somebody said stop.
    fn set_timeouts(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(CONNECT))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(CONNECT))
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for bytes, but not for ever, and not when somebody said stop.
struct Waiting {
    wire: Wire,
    stop: CancellationToken,
    patience: Duration,
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped.into());
            }
            match self.wire.read(buffer) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if start.elapsed() > self.patience {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("nothing came for {} s", self.patience.as_secs()),
                        ));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Bytes of this chunk that are left; `None` between chunks.
    Chunked(Option<u64>),
    /// All was read.
    Ended,
    Length(u64),
    /// It ends with the connection.
    UntilClose,
}

/// The head of an answer.
fn head(reader: &mut impl BufRead) -> io::Result<(u16, Framing)> {
    let mut budget = MAX_HEAD;
    let status_line = line(reader, &mut budget)?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok())
        .filter(|code| (200..600).contains(code))
        .ok_or_else(|| bad("it is no HTTP"))?;
    let (mut is_chunked, mut length) = (false, None);
    loop {
        let line = line(reader, &mut budget)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| bad("a header without a colon"))?;
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" if value.trim().eq_ignore_ascii_case("chunked") => {
                is_chunked = true;
            }
            "transfer-encoding" => return Err(bad("an unknown transfer encoding")),
            "content-length" => {
                let value = value.trim().parse::<u64>();
                let value = value.map_err(|_| bad("a length that is no number"))?;
                if length.is_some_and(|length| length != value) {
                    return Err(bad("two lengths"));
                }
                length = Some(value);
            }
            _ => {}
        }
    }
    let framing = match (is_chunked, length) {
        (true, _) => Framing::Chunked(None),
        (false, Some(0)) => Framing::Ended,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    Ok((status, framing))
}

/// A line without its end.
fn line(reader: &mut impl BufRead, budget: &mut u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let count = reader
        .by_ref()
        .take(*budget)
        .read_until(b'\n', &mut bytes)?;
    *budget -= count as u64;
    if bytes.pop() != Some(b'\n') {
        return Err(match *budget {
            0 => bad("its head is too long"),
            _ => io::ErrorKind::UnexpectedEof.into(),
        });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| bad("its head is no text"))
}

fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

struct Body<R = BufReader<Waiting>> {
    reader: R,
    framing: Framing,
}

impl<R: BufRead> Body<R> {
    /// The size of the next chunk.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut budget = MAX_CHUNK_LINE;
        let line = line(&mut self.reader, &mut budget)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let is_size = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit());
        match u64::from_str_radix(digits, 16) {
            Ok(size) if is_size => Ok(size),
            _ => Err(bad("a chunk without a size")),
        }
    }

    /// What follows the last chunk.
    fn trailers(&mut self) -> io::Result<()> {
        let mut budget = MAX_HEAD;
        while !line(&mut self.reader, &mut budget)?.is_empty() {}
        Ok(())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.framing == Framing::Chunked(None) {
            match self.next_chunk()? {
                0 => {
                    self.trailers()?;
                    self.framing = Framing::Ended;
                }
                size => self.framing = Framing::Chunked(Some(size)),
            }
        }
        let left = match self.framing {
            Framing::Ended | Framing::Chunked(None) => return Ok(0),
            Framing::UntilClose => return self.reader.read(buffer),
            Framing::Chunked(Some(left)) | Framing::Length(left) => left,
        };
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            // Docker closes the connection when saving fails in the middle.
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection was closed before the end",
            ));
        }
        let left = left - count as u64;
        self.framing = match self.framing {
            Framing::Chunked(_) if left > 0 => Framing::Chunked(Some(left)),
            Framing::Chunked(_) => {
                let mut budget = 2;
                match line(&mut self.reader, &mut budget) {
                    Ok(rest) if rest.is_empty() => {}
                    Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
                    _ => return Err(bad("a chunk that is longer than its size")),
                }
                Framing::Chunked(None)
            }
            _ if left > 0 => Framing::Length(left),
            _ => Framing::Ended,
        };
        Ok(count)
    }
}

/// A name as part of a path: Docker takes slashes and colons as they are.
fn escaped(name: &str) -> String {
    name.replace('@', "%40")
}

const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];
const BUFFER: usize = 64 << 10;
const MAX_HEAD: u64 = 64 << 10;
const MAX_CHUNK_LINE: u64 = 256;
const MAX_TEXT: u64 = 1 << 20;
/// How often a wait looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
/// Docker's own store is copied to a directory first: minutes for a large image.
const FIRST_BYTE: Duration = Duration::from_secs(30 * 60);
const IDLE: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixListener,
        sync::{Arc, Mutex},
    };

    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::image::{
        Cache, Digest, LoadOptions, Loader, Source,
        testing::{Layout, OCI_GZIP, chain, check, docker_archive, gzip, layer},
    };

    /// A daemon that answers requests with fixed bytes.
    struct Fake {
        directory: tempfile::TempDir,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Fake {
        fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> anyhow::Result<Self> {
            let directory = tempfile::tempdir()?;
            let listener = UnixListener::bind(directory.path().join("docker.sock"))?;
            let requests = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&requests);
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    let Ok(mut connection) = connection else {
                        return;
                    };
                    let mut reader = BufReader::new(&connection);
                    let mut first = String::new();
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                        if first.is_empty() {
                            first = line.trim().to_owned();
                        }
                        line.clear();
                    }
                    log.lock().expect("nobody panics").push(first.clone());
                    // Whoever asked may be gone.
                    let _ = connection.write_all(&answer(&first));
                }
            });
            Ok(Self {
                directory,
                requests,
            })
        }

        fn options(&self) -> LoadOptions {
            let socket = self.directory.path().join("docker.sock");
            LoadOptions {
                daemon: at(&format!("unix://{}", socket.display())),
                ..LoadOptions::default()
            }
        }

        fn error(&self) -> String {
            let error = load(&self.options()).expect_err("it does not answer well");
            chain(&error, self.directory.path())
        }

        fn requests(&self) -> Vec<String> {
            std::mem::take(&mut self.requests.lock().expect("nobody panics"))
        }
    }

    fn at(host: &str) -> Daemon {
        Daemon::from_environment(|name| (name == "DOCKER_HOST").then(|| host.into()))
    }

    fn load(options: &LoadOptions) -> Result<Image, Error> {
        load_named("team/web:1.0", options)
    }

    fn load_named(name: &str, options: &LoadOptions) -> Result<Image, Error> {
        let source = Source::parse(&format!("docker-daemon:{name}"))?;
        Loader::default().load_with(&source, options, &CancellationToken::new())
    }

    fn plain(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn chunked(body: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    fn saved() -> Vec<u8> {
        let raw = layer("raw", &[b'x'; 3_000_000]);
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(300_000)
        .collect();
        let packed = gzip(&layer("packed", &noise));
        docker_archive(&[&raw, &packed], &[&raw, &layer("packed", &noise)]).bytes()
    }

    fn docker(request: &str) -> Vec<u8> {
        match request {
            "GET /images/team/web:1.0/json HTTP/1.1" => plain(
                "200 OK",
                br#"{"Id":"sha256:1234","RepoTags":["team/web:1.0"]}"#,
            ),
            "GET /images/team/web:1.0/get HTTP/1.1" => chunked(&saved(), 99_999),
            other => plain("400 Bad Request", other.as_bytes()),
        }
    }

    /// The image is the one that `docker save` writes; it can be read as often as needed, with
    /// a cache and without; and with one it comes once.
    #[test]
    fn images_come_out() -> anyhow::Result<()> {
        let expected = crate::image::testing::ArchiveFile::new(&saved())?.load(None)?;
        let fake = Fake::start(docker)?;
        let mut options = fake.options();
        let image = load(&options)?;
        check(&image)?;
        check(&image)?;
        assert_eq!(image.root().digest, expected.root().digest);
        assert_eq!(image.layers, expected.layers);
        assert_eq!(fake.requests().len(), 2);

        let directory = tempfile::tempdir()?;
        options.cache = Some(Cache::new(directory.path(), 1 << 30));
        check(&load(&options)?)?;
        assert_eq!(fake.requests().len(), 2);
        let again = load(&options)?;
        check(&again)?;
        assert_eq!(again.root().digest, expected.root().digest);
        assert_eq!(fake.requests(), ["GET /images/team/web:1.0/json HTTP/1.1"]);
        // Without the blobs it has to come again.
        std::fs::remove_dir_all(directory.path().join("images-1/blobs"))?;
        std::fs::create_dir(directory.path().join("images-1/blobs"))?;
        check(&load(&options)?)?;
        assert_eq!(fake.requests().len(), 2);
        // Neither does a cache that has no room for it matter.
        options.cache = Some(Cache::new(directory.path(), 1000));
        check(&load(&options)?)?;
        Ok(())
    }

    /// Of a name without a tag the daemon would save every image; what begins as an id does is
    /// one image.
    #[test]
    fn names_without_a_tag() -> anyhow::Result<()> {
        for (name, asked) in [
            ("team/web", "team/web:latest"),
            ("web", "web:latest"),
            ("127.0.0.1:5000/web", "127.0.0.1:5000/web:latest"),
            ("127.0.0.1:5000/web:1", "127.0.0.1:5000/web:1"),
            ("1234", "1234"),
            ("sha256:1234", "sha256:1234"),
            ("12345", "12345:latest"),
            ("web@sha256:1234", "web@sha256:1234"),
        ] {
            let fake = Fake::start(|request| match request.contains("/json ") {
                true => plain("200 OK", br#"{"Id":"sha256:1234"}"#),
                false => chunked(&small(), 700),
            })?;
            load_named(name, &fake.options())?;
            let requests = [format!("{name}/json"), format!("{asked}/get")];
            let requests =
                requests.map(|it| format!("GET /images/{} HTTP/1.1", it.replace('@', "%40")));
            assert_eq!(fake.requests(), requests);
        }
        Ok(())
    }

    /// Docker with containerd's store has as much of an image as was pulled. What was not there is
    /// looked for again, though the image's id is the same; and who has to pull it is told.
    #[test]
    fn images_that_are_not_all_there() -> anyhow::Result<()> {
        let mut layout = Layout::new()?;
        let mut children = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let bytes = gzip(&layer(architecture, architecture.as_bytes()));
            let blob = layout.blob(OCI_GZIP, &bytes)?;
            let mut child = layout.image(&[blob])?;
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            children.push(child);
        }
        let index = layout.index(&children)?;
        layout.add(index, None)?;
        let config = Digest::of(br#"{"os":"linux"}"#);
        let amd = Digest::of(&gzip(&layer("amd64", b"amd64")));
        let saved = |layout: &Layout| {
            let entry = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            let list = json!([{"Config": entry(&config), "Layers": [entry(&amd)]}]);
            anyhow::Ok(layout.archive()?.json("manifest.json", &list).bytes())
        };
        let whole = saved(&layout)?;
        let arm = children[1]["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        std::fs::remove_file(layout.blob_path(&arm))?;
        let one = saved(&layout)?;
        std::fs::remove_file(layout.blob_path(amd.as_str()))?;
        let no_layer = saved(&layout)?;
        std::fs::remove_file(layout.blob_path(config.as_str()))?;
        let nothing = saved(&layout)?;

        let has = Arc::new(Mutex::new(nothing));
        let shown = Arc::clone(&has);
        let fake = Fake::start(move |request| match request.contains("/json ") {
            true => docker("GET /images/team/web:1.0/json HTTP/1.1"),
            false => plain("200 OK", &shown.lock().expect("nobody panics")),
        })?;
        let directory = tempfile::tempdir()?;
        let mut options = fake.options();
        options.cache = Some(Cache::new(directory.path(), 1 << 30));
        let socket = fake.directory.path();
        let error = |options: &LoadOptions| {
            let error = load(options).expect_err("something is missing");
            chain(&error, socket)
        };
        let mut errors = Vec::new();
        errors.push(error(&options));
        *has.lock().expect("nobody panics") = no_layer;
        options.platforms = vec!["linux/amd64".parse()?];
        errors.push(error(&options));
        *has.lock().expect("nobody panics") = one;
        check(&load(&options)?)?;
        options.platforms.clear();
        errors.push(error(&options));
        // It is said once more without reading all of it again in the same run.
        fake.requests();
        let (loader, stop) = (Loader::default(), CancellationToken::new());
        let source = Source::parse("docker-daemon:team/web:1.0")?;
        for _ in 0..2 {
            assert!(loader.load_with(&source, &options, &stop).is_err());
        }
        assert_eq!(fake.requests().len(), 3);
        // What a former run read does not stand in the way, also when it was enough for somebody.
        *has.lock().expect("nobody panics") = whole;
        let loader = Loader::default();
        let mut only = options.clone();
        only.platforms = vec!["linux/amd64".parse()?];
        for options in [&only, &options] {
            check(&loader.load_with(&source, options, &stop)?)?;
        }
        fake.requests();
        check(&load(&options)?)?;
        assert_eq!(fake.requests().len(), 1, "it is remembered now");
        expect![[r#"
            unix://DIR/docker.sock gives the image "team/web:1.0" without "blobs/sha256/5809269daf2d55e988b09feecc13180c284754e4d2376d0f7297ab7c6a90b358", so it does not have all of it; write docker:// and the name in the registry it was pulled from, or remove it and all images with the same layers, and pull it again
            unix://DIR/docker.sock gives the image "team/web:1.0" without "sha256:ad7520ddefcb28bab4f916ab05c171fa68f6a0d8f8e7571728900ca4b4c6ad36", so it does not have all of it; write docker:// and the name in the registry it was pulled from, or remove it and all images with the same layers, and pull it again
            "docker-daemon:team/web:1.0" holds an index of several platforms, but not the images for linux/arm64 (it has linux/amd64); get them, too, for example with docker pull --platform or skopeo copy --all, and save the image again if it is in a file, or choose from what is there, which changes the digest:
                platforms = ["linux/amd64"]"#]].assert_eq(&errors.join("\n"));
        Ok(())
    }

    /// Over TCP it is the same image.
    #[test]
    fn images_come_over_tcp() -> anyhow::Result<()> {
        let fake = Fake::start(docker)?;
        let socket = fake.directory.path().join("docker.sock");
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || -> io::Result<()> {
            for connection in listener.incoming() {
                let (mut there, mut here) = (UnixStream::connect(&socket)?, connection?);
                let (mut answers, mut asker) = (there.try_clone()?, here.try_clone()?);
                std::thread::spawn(move || io::copy(&mut here, &mut there));
                io::copy(&mut answers, &mut asker)?;
                asker.shutdown(std::net::Shutdown::Both)?;
            }
            Ok(())
        });
        for kind in ["tcp", "http"] {
            let options = LoadOptions {
                daemon: at(&format!("{kind}://{address}/")),
                ..LoadOptions::default()
            };
            let image = load(&options)?;
            check(&image)?;
            assert_eq!(image.root().digest, load(&fake.options())?.root().digest);
        }
        Ok(())
    }

    /// Answers that are none, or say no.
    #[test]
    fn bad_answers() -> anyhow::Result<()> {
        let inspect = |answer: &'static [u8]| anyhow::Ok(Fake::start(|_| answer.to_vec())?.error());
        let export = |answer: &'static [u8]| {
            anyhow::Ok(
                Fake::start(|request| match request.contains("/get ") {
                    true => answer.to_vec(),
                    false => docker(request),
                })?
                .error(),
            )
        };
        let found = [
            inspect(b"")?,
            inspect(b"SSH-2.0-OpenSSH_9.2\r\n")?,
            inspect(b"HTTP/1.1 404 Not Found\r\nContent-Length: 27\r\n\r\n{\"message\":\"No such image\"}")?,
            inspect(b"HTTP/1.1 500 Oops\r\n\r\n{\"message\":\"disk \x1b[2J is full\"}")?,
            inspect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?,
            inspect(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}")?,
            inspect(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")?,
            export(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\ncut")?,
            export(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")?,
            export(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n")?,
            export(b"HTTP/1.1 200 OK\r\n\r\nno archive")?,
        ];
        expect![[r#"
            unix://DIR/docker.sock does not answer as Docker does: unexpected end of file
            unix://DIR/docker.sock does not answer as Docker does: it is no HTTP
            unix://DIR/docker.sock has no image "team/web:1.0"; build or pull it first, or write a name that docker images lists
            unix://DIR/docker.sock does not give the image "team/web:1.0" (status 500: {\"message\":\"disk \u{1b}[2J is full\"})
            unix://DIR/docker.sock does not answer as Docker does
            unix://DIR/docker.sock does not answer as Docker does: an unknown transfer encoding
            unix://DIR/docker.sock does not answer as Docker does: two lengths
            unix://DIR/docker.sock broke off while it sent the image: the connection was closed before the end
            unix://DIR/docker.sock broke off while it sent the image: a chunk without a size
            unix://DIR/docker.sock broke off while it sent the image: a chunk that is longer than its size
            "docker-daemon:team/web:1.0" is not a tar archive"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    /// An image that is not there may be built later in the run.
    #[test]
    fn missing_images() -> anyhow::Result<()> {
        let fake = Fake::start(|_| plain("404 Not Found", b"{}"))?;
        assert!(load(&fake.options()).is_err_and(|error| error.is_missing()));
        let fake = Fake::start(|_| plain("500 Oops", b"{}"))?;
        assert!(load(&fake.options()).is_err_and(|error| !error.is_missing()));
        Ok(())
    }

    /// Nobody listens, or in a way that is not spoken here.
    #[test]
    fn nobody_listens() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let error = |daemon: Daemon| {
            let options = LoadOptions {
                daemon,
                ..LoadOptions::default()
            };
            chain(
                &load(&options).expect_err("nobody listens"),
                directory.path(),
            )
        };
        drop(UnixListener::bind(directory.path().join("dead.sock"))?);
        let socket = |name: &str| format!("unix://{}/{name}", directory.path().display());
        let nowhere = Daemon {
            sockets: vec![
                directory.path().join("one.sock"),
                directory.path().join("two.sock"),
            ],
            ..Daemon::default()
        };
        let found = [
            error(nowhere),
            error(at(&socket("none.sock"))),
            error(at(&socket("dead.sock"))),
            error(Daemon {
                wants_tls: true,
                ..at("tcp://host:2376")
            }),
            error(at("ssh://user@host")),
            error(at("tcp://host")),
            error(at("tcp://host:1/x y:2")),
            error(at("/var/run/docker.sock")),
        ];
        expect![[r#"
            Docker is not found: there is no DIR/one.sock, no DIR/two.sock; start Docker or podman's service, or set DOCKER_HOST, or save the image to a file and write docker-archive:FILE
            unix://DIR/none.sock cannot be reached: No such file or directory (os error 2); start it, or set DOCKER_HOST, or save the image to a file and write docker-archive:FILE
            unix://DIR/dead.sock cannot be reached: Connection refused (os error 111); start it, or set DOCKER_HOST, or save the image to a file and write docker-archive:FILE
            DOCKER_HOST "tcp://host:2376" is to be spoken to over TLS (DOCKER_TLS_VERIFY), which is not done; save the image to a file and write docker-archive:FILE
            DOCKER_HOST "ssh://user@host" is of the kind ssh, and only unix:// and tcp:// are spoken; save the image to a file and write docker-archive:FILE
            DOCKER_HOST "tcp://host" is no host and port
            DOCKER_HOST "tcp://host:1/x y:2" is no host and port
            DOCKER_HOST "/var/run/docker.sock" is no address such as unix:///var/run/docker.sock"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    /// The machine's Docker comes first, then this user's, then podman.
    #[test]
    fn follows_the_environment() {
        let sockets = |variables: &[(&str, &str)]| {
            let daemon = Daemon::from_environment(|name| {
                let found = variables.iter().find(|(it, _)| *it == name);
                found.map(|(_, value)| OsString::from(value))
            });
            let shown = daemon.sockets.iter().map(|it| it.display().to_string());
            shown.collect::<Vec<_>>().join(" ")
        };
        let found = [
            sockets(&[]),
            sockets(&[("XDG_RUNTIME_DIR", "/run/user/1"), ("HOME", "/h")]),
        ];
        expect![[r#"
            /var/run/docker.sock /run/podman/podman.sock
            /var/run/docker.sock /run/user/1/docker.sock /h/.docker/run/docker.sock /run/user/1/podman/podman.sock /run/podman/podman.sock"#]].assert_eq(&found.join("\n"));
    }

    /// A wait for a daemon that does not answer ends with the run.
    #[test]
    fn stops() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("docker.sock");
        let _silent = UnixListener::bind(&path)?;
        let stop = CancellationToken::new();
        let source = Source::parse("docker-daemon:team/web:1.0")?;
        let options = LoadOptions {
            daemon: at(&format!("unix://{}", path.display())),
            ..LoadOptions::default()
        };
        let start = Instant::now();
        let cancel = stop.clone();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        });
        let result = Loader::default().load_with(&source, &options, &stop);
        canceller.join().expect("it only sleeps");
        assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
        Ok(())
    }

    proptest! {
        /// No answer makes the reader panic or take more than its bound, and a
        /// chunked one is put together whatever the chunks are.
        #[test]
        fn any_answer(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
            let mut reader = bytes.as_slice();
            if let Ok((_, framing)) = head(&mut reader) {
                let _ = Body { reader, framing }.read_to_end(&mut Vec::new());
            }
            for framing in [Framing::Chunked(None), Framing::Length(100)] {
                let _ = Body { reader: bytes.as_slice(), framing }.read_to_end(&mut Vec::new());
            }
            let answer = chunked(&bytes, size);
            let mut reader = answer.as_slice();
            let (status, framing) = head(&mut reader).expect("it is whole");
            prop_assert_eq!((status, framing), (200, Framing::Chunked(None)));
            let mut read = Vec::new();
            Body { reader, framing }.read_to_end(&mut read).expect("it is whole");
            prop_assert_eq!(read, bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.div_ceil(4),
            ..ProptestConfig::default()
        })]

        /// Whatever a daemon answers, to either question, there is an image or a short reason.
        #[test]
        fn any_daemon(
            about in crate::spoilt::bytes([
                docker("GET /images/team/web:1.0/json HTTP/1.1"),
                plain("404 Not Found", br#"{"message":"No such image: team/web:1.0"}"#),
                b"HTTP/1.1 200 OK\r\n\r\n{\"Id\":\"sha256:1\"}".to_vec(),
            ]),
            image in crate::spoilt::bytes([
                chunked(&small(), 700),
                plain("200 OK", &small()),
                plain("500 Internal Server Error", b"{\"message\":\"no space left\"}"),
            ]),
            is_known in any::<bool>(),
        ) {
            let fake = Fake::start(move |request| match request.contains("/json ") {
                true if is_known => docker("GET /images/team/web:1.0/json HTTP/1.1"),
                true => about.clone(),
                false => image.clone(),
            });
            let fake = fake.expect("a socket can be made");
            match load(&fake.options()) {
                // What is wrong with a blob is found out when it is read.
                Ok(image) => drop(check(&image)),
                Err(error) => prop_assert!(error.to_string().len() < 2_000, "{}", error),
            }
        }
    }

    fn small() -> Vec<u8> {
        let raw = layer("raw", b"content");
        docker_archive(&[&raw], &[&raw]).bytes()
    }
}
