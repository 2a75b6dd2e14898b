//! Requests, status and the time verdict between the processes.
