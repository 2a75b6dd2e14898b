//! The whole appliance on this computer: PLC directory, simulated time servers, faults on command.

pub mod cli;
pub mod command;
pub mod console;
pub mod pds_service;
pub mod plc_directory;
pub mod run;
pub mod screenshot;
pub mod terminal;
pub mod world;
