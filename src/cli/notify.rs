//! Tells a service manager how far this process is: sd_notify(3), a datagram to `$NOTIFY_SOCKET`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The variable that names the manager's socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// The process serves; the words say what.
pub fn ready(words: &str) {
    tell(&format!("READY=1\nSTATUS=serving {}\n", one_line(words)));
}

/// The process has begun to stop.
pub fn stopping(words: &str) {
    tell(&format!("STOPPING=1\nSTATUS={}\n", one_line(words)));
}

fn one_line(words: &str) -> String {
    words.replace(['\n', '\r'], " ")
}

/// Nothing without a manager; a manager that cannot be told is warned of, and the work goes on.
fn tell(message: &str) {
    let socket: Option<OsString> = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    if let Some(socket) = socket
        && let Err(error) = send(&socket, message)
    {
        tracing::warn!(op = "notify", socket = %socket.display(), %error, "the service manager is not told");
    }
}

/// The socket is a path, or after an `@` an abstract name.
fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a path nor an abstract socket")),
    };
    let from = UnixDatagram::unbound()?;
    from.set_write_timeout(Some(crate::base::limits::NOTIFY_TIMEOUT))?;
    from.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_by_path_or_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\n").unwrap();
        assert_eq!(received(&manager), "READY=1\n");

        let name = format!("openbucket-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1\n").unwrap();
        assert_eq!(received(&manager), "STOPPING=1\n");

        assert!(send(OsStr::new("vsock:2:1"), "READY=1\n").is_err());
        assert!(send(directory.path().join("none").as_os_str(), "READY=1\n").is_err());
    }
}
