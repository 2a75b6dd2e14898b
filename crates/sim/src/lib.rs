//! The whole appliance on this computer: PLC directory, simulated time servers, faults on command.

pub mod cli;
pub mod command;
pub mod plc_directory;
pub mod terminal;
