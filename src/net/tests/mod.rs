//! Both protocols over every network, and against peers that lie.

mod fixture;
mod liars;
mod protocols;
mod real;
