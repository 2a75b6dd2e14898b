//! The guard as a process among real time servers.
