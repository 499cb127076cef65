//! A client that is nothing but a socket with a time-out.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::DEADLINE;
use super::bytes::{masked, printable, sequences};

/// One connection, read exactly.
pub(crate) struct Wire {
    stream: TcpStream,
    /// Read already, and not yet asked for.
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        Self::over(stream)
    }

    /// A client whose kernel takes little before the server feels that it does not read.
    pub(crate) fn connect_with_small_buffer(address: SocketAddr) -> Self {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )
        .expect("a socket");
        socket
            .set_recv_buffer_size(16 << 10)
            .expect("a size within the limits");
        socket.connect(&address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a time above 0");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("a time above 0");
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Connects and sends.
    pub(crate) fn open(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut wire = Self::connect(address);
        wire.send(bytes);
        wire
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server reads");
    }

    /// Sends what the server may refuse before it has read all of it.
    pub(crate) fn send_what_may_be_refused(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Err(e) if !matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("the server neither reads nor closes: {e}")
            }
            _ => {}
        }
    }

    /// Sends while the server takes it; `false`: it has ended the connection.
    pub(crate) fn send_while_open(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                false
            }
            Err(e) => panic!("the server neither reads nor closes: {e}"),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
    }

    /// Reads once more. `false` at the end.
    fn fill(&mut self) -> bool {
        let mut space = [0; 64 << 10];
        match self.stream.read(&mut space) {
            Ok(read) => {
                self.ahead.extend_from_slice(&space[..read]);
                read > 0
            }
            Err(e) => panic!(
                "expected more bytes or the end, got '{e}' after {}",
                printable(&self.ahead)
            ),
        }
    }

    /// Whatever comes next, at least one byte.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.ahead.is_empty() {
            assert!(self.fill(), "expected more bytes, got the end");
        }
        std::mem::take(&mut self.ahead)
    }

    /// The sequences of the next messages, at least so many, whatever is around them.
    pub(crate) fn sequences(&mut self, least: usize) -> Vec<u64> {
        let mut read = Vec::new();
        while sequences(&read).len() < least {
            read.extend(self.some());
        }
        sequences(&read)
    }

    /// The next `count` bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(
                self.fill(),
                "expected {count} bytes, got the end after {}",
                printable(&self.ahead)
            );
        }
        self.ahead.drain(..count).collect()
    }

    /// All up to and with the first `end`.
    pub(crate) fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut searched = 0;
        loop {
            let found = self.ahead[searched..]
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return self.ahead.drain(..searched + at + end.len()).collect();
            }
            searched = self.ahead.len().saturating_sub(end.len() - 1);
            assert!(
                self.fill(),
                "expected {}, got the end after {}",
                printable(end),
                printable(&self.ahead)
            );
        }
    }

    /// All up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.ahead)
    }

    /// All up to the end of a connection that may have been reset, because the server closed it
    /// with bytes of ours unread.
    pub(crate) fn rest_or_reset(&mut self) -> Vec<u8> {
        let mut space = [0; 4 << 10];
        loop {
            match self.stream.read(&mut space) {
                Ok(0) => break,
                Ok(read) => self.ahead.extend_from_slice(&space[..read]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
                Err(e) => panic!("the server neither answers nor closes: {e}"),
            }
        }
        std::mem::take(&mut self.ahead)
    }

    /// Whether the connection was reset, behind whatever has arrived.
    pub(crate) fn is_reset(&mut self) -> bool {
        let mut space = vec![0; 256 << 10];
        loop {
            match self.stream.read(&mut space) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return true,
                Err(e) => panic!("the server neither sends nor ends: {e}"),
            }
        }
    }

    /// The ports of this end and of the server's.
    pub(crate) fn ports(&self) -> (u16, u16) {
        let near = self.stream.local_addr().expect("connected");
        let far = self.stream.peer_addr().expect("connected");
        (near.port(), far.port())
    }

    /// The next bytes must be these, times of publishing and dates apart.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let got = masked(&self.exactly(expected.len()));
        assert!(
            got == expected,
            "expected {}\n     got {}",
            printable(expected),
            printable(&got)
        );
    }

    /// As [`Self::expect`], behind any number of `filler`.
    #[track_caller]
    pub(crate) fn expect_behind(&mut self, filler: &[u8], expected: impl AsRef<[u8]>) {
        let mut start = self.exactly(filler.len());
        while start == filler {
            start = self.exactly(filler.len());
        }
        self.ahead.splice(..0, start);
        self.expect(expected);
    }

    /// The connection must end here.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(
            rest.is_empty(),
            "expected the end, got {}",
            printable(&rest)
        );
    }

    /// The next response: its status, its head, its body of `Content-Length` bytes.
    pub(crate) fn response(&mut self) -> (u16, String, Vec<u8>) {
        let head = String::from_utf8(self.until(b"\r\n\r\n")).expect("a head is ASCII");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .expect("a status line of HTTP/1.1 (RFC 9112, section 4)");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        (status, head, self.exactly(length))
    }
}
