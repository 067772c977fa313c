//! Talk to Ethereum: the `Ledger` seam, the wallet, the contracts' bindings, the outbox, a simulated chain.
//!
//! A layer of its own above `store`: what is to be sent is kept there before it is sent.
