//! Where the host connects: a unix socket, or a port where there are none.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::transport::server::Connected;

use super::{Error, handshake::Place};

#[cfg(not(unix))]
use tokio::net::{TcpListener as Socket, TcpStream as Stream};
#[cfg(unix)]
use tokio::net::{UnixListener as Socket, UnixStream as Stream};

/// A bound address. Dropping it removes the file of a unix socket.
pub(super) struct Listener {
    socket: Socket,
    pub(super) address: Address,
    /// Counts the connections that are open.
    pub(super) open: TaskTracker,
}

/// What a host has to know to connect.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// `unix` or `tcp`.
    pub(super) network: &'static str,
    /// A path, or host and port.
    pub(super) text: String,
}

impl Address {
    /// Removes what listening left behind; for the ends that run no destructors.
    pub(super) fn remove(&self) {
        if self.network == "unix" {
            // It may be gone already.
            let _ = std::fs::remove_file(&self.text);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.address.remove();
    }
}

impl Listener {
    /// Binds a unix socket under a random name.
    #[cfg(unix)]
    pub(super) fn bind(place: &Place) -> Result<Self, Error> {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};

        let dir = place.dir.clone().unwrap_or_else(std::env::temp_dir);
        let path = dir.join(format!("plugin{:016x}", rand::random::<u64>()));
        let failed = |source| Error::Bind {
            address: path.display().to_string(),
            source,
        };
        let text = path.to_str().ok_or_else(|| {
            failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not UTF-8",
            ))
        })?;
        let socket = Socket::bind(&path).map_err(failed)?;
        let listener = Self {
            socket,
            address: Address {
                network: "unix",
                text: text.to_owned(),
            },
            open: TaskTracker::new(),
        };
        // Without TLS, these permissions are all the protection there is.
        let mode = match &place.group {
            None => 0o600,
            Some(group) => {
                let group = group_id(group).map_err(failed)?;
                std::os::unix::fs::chown(&path, None, Some(group)).map_err(failed)?;
                0o660
            }
        };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)?;
        Ok(listener)
    }

    /// Binds the first free port of the host's range.
    #[cfg(not(unix))]
    pub(super) fn bind(place: &Place) -> Result<Self, Error> {
        let failed = |source| Error::Bind {
            address: format!("127.0.0.1:{}-{}", place.ports.start(), place.ports.end()),
            source,
        };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in place.ports.clone() {
            match std::net::TcpListener::bind(("127.0.0.1", port)) {
                Err(error) => last = error,
                Ok(socket) => {
                    socket.set_nonblocking(true).map_err(failed)?;
                    return Ok(Self {
                        socket: Socket::from_std(socket).map_err(failed)?,
                        address: Address {
                            network: "tcp",
                            text: format!("127.0.0.1:{port}"),
                        },
                        open: TaskTracker::new(),
                    });
                }
            }
        }
        Err(failed(last))
    }

    /// Accepts connections until the receiver is gone, and then stays: the end
    /// is the server's to find.
    ///
    /// Each TLS handshake is a task of its own: somebody who connects and says
    /// nothing must not keep the host waiting.
    pub(super) async fn accept(
        &self,
        tls: Option<TlsAcceptor>,
        accepted: mpsc::Sender<Connection>,
    ) {
        while !accepted.is_closed() {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, for example: the next one may work.
                    tracing::warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let open = self.open.clone();
            let Some(tls) = tls.clone() else {
                let connection = Connection::new(Channel::Plain(stream), &open);
                let _ = accepted.send(connection).await;
                continue;
            };
            let accepted = accepted.clone();
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let connection = Connection::new(Channel::Tls(Box::new(stream)), &open);
                        // Refused only when the server ends.
                        let _ = accepted.send(connection).await;
                    }
                    Ok(Err(error)) => tracing::warn!(error = %error, "refused a connection"),
                    Err(_) => tracing::warn!("a connection did not finish its TLS handshake"),
                }
            });
        }
        std::future::pending().await
    }
}

/// A group's number from its number or name, as `/etc/group` has it. Groups
/// from elsewhere (a directory service) have to be given as a number.
#[cfg(unix)]
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group")?;
    find_group(&groups, group).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no group \"{group}\" in /etc/group"),
        )
    })
}

#[cfg(unix)]
fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next()? == name).then(|| parts.nth(1)?.parse().ok())?
    })
}

/// A connection of the host, counted as long as it is open.
pub(super) struct Connection {
    channel: Channel,
    #[expect(dead_code, reason = "dropping it is its use")]
    open: TaskTrackerToken,
}

impl Connection {
    fn new(channel: Channel, open: &TaskTracker) -> Self {
        Self {
            channel,
            open: open.token(),
        }
    }
}

/// With or without TLS.
enum Channel {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().channel {
            Channel::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Channel::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().channel {
            Channel::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Channel::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().channel {
            Channel::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Channel::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().channel {
            Channel::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Channel::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place(dir: &std::path::Path) -> Result<Place, Error> {
        Place::read(&|name| (name == "PLUGIN_UNIX_SOCKET_DIR").then(|| dir.display().to_string()))
    }

    /// The socket is for its user alone, and gone afterwards.
    #[tokio::test]
    async fn the_socket_is_private_and_removed() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let listener = Listener::bind(&place(dir.path())?)?;
        let mode = std::fs::metadata(&listener.address.text)?
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
        Ok(())
    }

    /// A path that does not fit a socket address is an error that names it.
    #[tokio::test]
    async fn a_long_path_is_named() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let long = dir.path().join("d".repeat(120));
        std::fs::create_dir(&long)?;
        let error = Listener::bind(&place(&long)?).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(&"d".repeat(120)), "{error}");
        Ok(())
    }

    /// Names come from the groups file, and nothing else matches.
    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\nstaff:x:50:ann,bob\nbroken\n";
        assert_eq!(find_group(groups, "staff"), Some(50));
        assert_eq!(find_group(groups, "broken"), None);
        assert_eq!(find_group(groups, "sta"), None);
    }

    proptest::proptest! {
        /// Whatever stands in the file of groups, what is found is the number in the line of the
        /// name.
        #[test]
        fn any_groups(
            groups in crate::spoilt::text(&["root:x:0:\nstaff:x:50:ann,bob\n", "staff:x:4294967296:\n:::\n"]),
            name in crate::spoilt::text(&["staff", "root", ""]),
        ) {
            if let Some(number) = find_group(&groups, &name) {
                let is_there = groups.lines().any(|line| {
                    let parts: Vec<&str> = line.split(':').collect();
                    parts[0] == name && parts.get(2).is_some_and(|part| part.parse() == Ok(number))
                });
                proptest::prop_assert!(is_there);
            }
        }
    }
}
