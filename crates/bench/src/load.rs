//! Load: posts from one or more clients at once, and how fast they were answered.

use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    http::Http,
    xrpc::{self, Account},
};

/// Posts `posts` small records by `clients` connections at once and returns the time it took.
///
/// Client i writes to `accounts[i % accounts.len()]`. The connections are open and the threads wait before the clock
/// starts. `first` numbers the posts. Fails when any post is not answered with 200.
pub fn posts(
    address: &str,
    accounts: &[Account],
    clients: usize,
    posts: u64,
    first: u64,
) -> Result<Duration> {
    let share = posts / u64::try_from(clients).context("too many clients")?;
    let ready = Barrier::new(clients + 1);
    let client = |account: &Account, first: u64| -> Result<()> {
        let opened = Http::connect(address);
        ready.wait();
        let mut http = opened?;
        for number in first..first + share {
            let request = xrpc::post_request(&http, account, number);
            let answer = http.send(&request)?;
            if answer.status != 200 {
                bail!("createRecord: {} {}", answer.status, String::from_utf8_lossy(answer.body));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let mut running = Vec::with_capacity(clients);
        let mut from = first;
        for account in accounts.iter().cycle().take(clients) {
            let client = &client;
            running.push(scope.spawn(move || client(account, from)));
            from += share;
        }
        ready.wait();
        let began = Instant::now();
        for client in running {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(began.elapsed())
    })
}

/// Sends the same request `count` times by each of `clients` connections and returns the requests per second.
pub fn same(address: &str, request: &[u8], clients: usize, count: u32) -> Result<f64> {
    let ready = Barrier::new(clients + 1);
    let client = || -> Result<()> {
        let opened = Http::connect(address);
        ready.wait();
        let mut http = opened?;
        for _ in 0..count {
            http.send(request)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        ready.wait();
        let began = Instant::now();
        for client in running {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        let all = f64::from(count) * f64::from(u32::try_from(clients).context("too many clients")?);
        Ok(all / began.elapsed().as_secs_f64())
    })
}

/// The value in the middle; of an even number the mean of the two. `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, *sorted.get(sorted.len() / 2 - 1)?))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
