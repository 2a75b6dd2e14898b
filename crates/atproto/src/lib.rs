//! Pure protocol values: identifiers, DAG-CBOR, MST, commits, CAR, keys, PLC operations.
