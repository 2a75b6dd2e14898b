//! All durable state of the PDS: one database, one writer.
