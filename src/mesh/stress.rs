//! Threads that send, sleep and wake as fast as they can: nothing is lost, nobody sleeps for ever.
