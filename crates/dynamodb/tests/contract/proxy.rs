//! A proxy between the client and the server, which does harm to single requests.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It is refused as DynamoDB does when too much is asked of a table.
    Throttle,
    /// The transaction meets another one.
    #[allow(dead_code, reason = "only one server serves transactions")]
    Conflict,
    /// The server says that it failed, and has not applied it.
    Fail,
    /// It is refused for good, as when the credentials may not do that.
    Deny,
    /// The line breaks before it arrives.
    CutBefore,
    /// It is applied, and the line breaks before the answer arrives.
    CutAfter,
}

type Decide = Arc<Mutex<Box<dyn FnMut(&str) -> Fate + Send>>>;

/// Listens until the process ends.
pub struct Proxy {
    pub url: String,
    decide: Decide,
}

impl Proxy {
    pub fn before(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let decide: Decide = Arc::new(Mutex::new(Box::new(|_: &str| Fate::Pass)));
        let proxy = Self {
            url,
            decide: Arc::clone(&decide),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server, decide) =
                    (client.unwrap(), server.clone(), Arc::clone(&decide));
                thread::spawn(move || {
                    // A line that breaks ends this thread alone.
                    let _broken = serve(client, &server, &decide).is_err();
                });
            }
        });
        proxy
    }

    /// From now on `decide` says what becomes of a request, by its operation.
    pub fn decide(&self, decide: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
    }
}

fn serve(client: TcpStream, server: &str, decide: &Decide) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    loop {
        let request = message(&mut reader)?;
        let head = String::from_utf8_lossy(&request);
        let target = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("x-amz-target:")
                    .then(|| line.to_owned())
            })
            .unwrap_or_default();
        let operation = target
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let fate = (decide.lock().unwrap())(&operation);
        match fate {
            Fate::CutBefore => return Ok(()),
            Fate::Throttle => {
                let code = "ProvisionedThroughputExceededException";
                client.write_all(&refusal(400, code, ""))?;
            }
            Fate::Deny => client.write_all(&refusal(400, "AccessDeniedException", ""))?,
            Fate::Fail => client.write_all(&refusal(500, "InternalServerError", ""))?,
            Fate::Conflict => {
                let reasons =
                    r#","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict"}]"#;
                client.write_all(&refusal(400, "TransactionCanceledException", reasons))?;
            }
            Fate::Pass | Fate::CutAfter => {
                let mut upstream = TcpStream::connect(server)?;
                upstream.write_all(&request)?;
                let answer = message(&mut BufReader::new(upstream))?;
                if fate == Fate::CutAfter {
                    return Ok(());
                }
                client.write_all(&answer)?;
            }
        }
    }
}

fn refusal(status: u16, code: &str, more: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"by the proxy"{more}}}"#
    );
    format!(
        "HTTP/1.1 {status} no\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads a request or an answer: its head, and as much as that announces.
fn message(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let (mut all, mut length) = (Vec::new(), 0);
    loop {
        let begin = all.len();
        if reader.read_until(b'\n', &mut all)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&all[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let begin = all.len();
    all.resize(begin + length, 0);
    reader.read_exact(&mut all[begin..])?;
    Ok(all)
}
