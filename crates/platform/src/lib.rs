//! What a Pi has and a laptop has not, as traits, with their simulations; and TrustedTime.
