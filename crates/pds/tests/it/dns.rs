//! A DNS server on a loopback port that gives out TXT records.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{RData, Record, rdata::TXT},
};
use tokio::{net::UdpSocket, task::JoinSet};

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers what it has, and that it has nothing.
    #[default]
    Fair,
    /// Answers that it cannot answer.
    Fails,
}

/// Parts of a text are this long: a record's text may come in pieces of up to 255.
const PIECE_BYTES: usize = 20;

#[derive(Clone, Default)]
pub(crate) struct Dns {
    records: Arc<Mutex<HashMap<String, Vec<String>>>>,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicU32>,
}

impl Dns {
    pub(crate) async fn start(&self, tasks: &mut JoinSet<()>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dns = self.clone();
        tasks.spawn(async move {
            let mut question = [0; 4096];
            loop {
                let (len, from) = socket.recv_from(&mut question).await.unwrap();
                let answer = dns.answer(&question[..len]);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    /// Gives a name these records.
    pub(crate) fn set(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        self.records.lock().unwrap().insert(name.to_owned(), texts);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn answer(&self, question: &[u8]) -> Vec<u8> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let records = self.records.lock().unwrap();
        match (*self.mood.lock().unwrap(), records.get(&name)) {
            (Mood::Fails, _) => answer.metadata.response_code = ResponseCode::ServFail,
            (Mood::Fair, None) => answer.metadata.response_code = ResponseCode::NXDomain,
            (Mood::Fair, Some(texts)) => {
                for text in texts {
                    let pieces = text.as_bytes().chunks(PIECE_BYTES).collect();
                    let data = RData::TXT(TXT::from_bytes(pieces));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 300, data));
                }
            }
        }
        answer.add_query(query);
        answer.to_vec().unwrap()
    }
}
