//! Screen pages, button, storage and supervision.
