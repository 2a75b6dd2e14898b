//! The whole appliance on this computer: PLC directory, simulated time servers, faults on command.
