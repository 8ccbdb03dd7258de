//! A TCP proxy between a pool and its server that can cut the line.
//!
//! It knows no protocol. All it takes for granted is that client and server
//! speak in turns, and that a server begins to answer a statement once its
//! effects are committed; PostgreSQL and MySQL do, for answers of some KiB.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{mem, thread};

/// Whose turn to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Request,
    Answer,
}

pub struct Proxy {
    url: String,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    server: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: Option<(Turn, usize)>,
    before_next_connection: Option<Box<dyn FnOnce() + Send>>,
    is_away: bool,
    requests: usize,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy to the server of `url`, which names its port.
    pub fn to(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (server, end) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
            server: server.to_owned(),
            ..Line::default()
        });
        let url = format!("{start}@{address}/{end}");
        let proxy = Self { url, line };
        let line = Arc::clone(&proxy.line);
        // Until the tests' process ends.
        thread::spawn(move || {
            for client in listener.incoming() {
                line.serve(client.unwrap());
            }
        });
        proxy
    }

    /// The server, through this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts a connection in the place of the `n`th turn from now: a request
    /// does not reach the server, or an answer does not reach the client.
    pub fn cut(&self, turn: Turn, n: usize) {
        self.line.state.lock().unwrap().cut = Some((turn, n));
    }

    /// Takes the cut back, and tells whether it was still to come.
    pub fn spare(&self) -> bool {
        self.line.state.lock().unwrap().cut.take().is_some()
    }

    /// Calls `work` before the next connection gets through.
    pub fn before_next_connection(&self, work: impl FnOnce() + Send + 'static) {
        self.line.state.lock().unwrap().before_next_connection = Some(Box::new(work));
    }

    /// Cuts all connections.
    pub fn cut_all(&self) {
        for stream in mem::take(&mut self.line.state.lock().unwrap().open) {
            let _ = stream.shutdown(Shutdown::Both); // it may be cut already
        }
    }

    /// Cuts all connections, and each that comes, until the server [`returns`](Self::returns).
    pub fn goes_away(&self) {
        self.line.state.lock().unwrap().is_away = true;
        self.cut_all();
    }

    pub fn returns(&self) {
        self.line.state.lock().unwrap().is_away = false;
    }

    pub fn is_away(&self) -> bool {
        self.line.state.lock().unwrap().is_away
    }

    /// How often clients have asked something.
    pub fn requests(&self) -> usize {
        self.line.state.lock().unwrap().requests
    }
}

impl Line {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        let work = self.state.lock().unwrap().before_next_connection.take();
        if let Some(work) = work {
            work();
        }
        let mut state = self.state.lock().unwrap();
        if state.is_away {
            return;
        }
        let server = TcpStream::connect(&self.server).unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let last = Arc::new(Mutex::new(None));
        for (turn, from, to) in [
            (Turn::Request, &client, &server),
            (Turn::Answer, &server, &client),
        ] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (line, last) = (Arc::clone(self), Arc::clone(&last));
            thread::spawn(move || line.pass_on(turn, from, to, &last));
        }
        state.open.extend([client, server]);
    }

    fn pass_on(
        &self,
        turn: Turn,
        mut from: TcpStream,
        mut to: TcpStream,
        last: &Mutex<Option<Turn>>,
    ) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let is_next = last.lock().unwrap().replace(turn) != Some(turn);
            if is_next && self.is_cut(turn) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both); // the other side may have
        }
    }

    /// Whether the turn that has just begun is the one to cut.
    fn is_cut(&self, turn: Turn) -> bool {
        let mut state = self.state.lock().unwrap();
        state.requests += usize::from(turn == Turn::Request);
        match &mut state.cut {
            Some((cut, n)) if *cut == turn => {
                *n -= 1;
                let is_now = *n == 0;
                if is_now {
                    state.cut = None;
                }
                is_now
            }
            _ => false,
        }
    }
}
