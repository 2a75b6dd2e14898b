//! The PDS as its clients see it: a real server on a loopback port, a real store, a small PLC directory, a clock in the
//! hand of the test.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod app_passwords;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cuts;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod dns;
#[cfg(test)]
mod firehose;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod invites;
#[cfg(test)]
mod lexicons;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod mail_server;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod places;
#[cfg(test)]
mod plc;
#[cfg(test)]
mod program;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod proxy_hostile;
#[cfg(test)]
mod read_after_write;
#[cfg(test)]
mod records;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod service_auth;
#[cfg(test)]
mod states;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod upstream;
