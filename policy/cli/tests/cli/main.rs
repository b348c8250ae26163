//! The binary as a person or a script runs it: what it prints, where, and the exit status.

#[cfg(test)]
mod check;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod hash;
#[cfg(test)]
mod host;
#[cfg(test)]
mod program;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod test;
#[cfg(test)]
mod token;
#[cfg(test)]
mod user;
#[cfg(test)]
mod who_can;
