//! Pages on the home network.
