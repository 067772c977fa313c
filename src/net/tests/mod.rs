//! Both protocols over every network, and against peers that lie.

mod fixture;
mod liars;
mod parts;
mod protocols;
mod real;
