//! The real runtime over real sockets.
