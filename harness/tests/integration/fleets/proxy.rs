//! A proxy between clients and a server, on threads, that hands on, resets or refuses.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a proxy treats who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Hands on.
    Open,
    /// Accepts, and resets at once.
    Down,
    /// Answers 503 to everything.
    Unavailable,
}

/// A proxy on threads.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: Arc<AtomicU8>,
    near: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub(super) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mode = Arc::new(AtomicU8::new(Mode::Open as u8));
        let near = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (its_mode, its_near) = (mode.clone(), near.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mode = its_mode.load(Ordering::SeqCst);
                if mode == Mode::Down as u8 {
                    reset(&stream);
                    continue;
                }
                if mode == Mode::Unavailable as u8 {
                    let _ = stream.read(&mut [0; 2_048]);
                    let _ = stream.write_all(
                        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
                    );
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else {
                    continue;
                };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                its_near.lock().expect("no panic").push(clone(&stream));
                let (near, back) = (clone(&stream), clone(&far));
                std::thread::spawn(move || hand_on(stream, far));
                std::thread::spawn(move || hand_on(back, near));
            }
        });
        Self {
            address,
            mode,
            near,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Hands on again after a while.
    pub(crate) fn open_after(&self, wait: Duration) {
        let mode = self.mode.clone();
        std::thread::spawn(move || {
            std::thread::sleep(wait);
            mode.store(Mode::Open as u8, Ordering::SeqCst);
        });
    }

    /// Ends all connections, by resets or in order; how many there were.
    pub(crate) fn cut(&self, by_reset: bool) -> usize {
        let streams = std::mem::take(&mut *self.near.lock().expect("no panic"));
        for stream in &streams {
            if by_reset {
                reset(stream);
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len()
    }
}

/// The next close of the stream, however many descriptors it has, is a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn hand_on(mut from: TcpStream, mut to: TcpStream) {
    let mut space = [0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut space) {
        if to.write_all(&space[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
