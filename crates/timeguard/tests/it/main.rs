//! The guard as a process among real time servers (Debian's chrony and ntpsec) and servers of our own that lie, kiss,
//! flap or keep silent, all behind one resolver. It never touches this machine's clock: neither do the servers.

#[cfg(test)]
mod daemons;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod world;
