//! The two CRC-64 polynomials in use.
