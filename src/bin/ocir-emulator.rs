//! The emulator as a program: arguments, bind, run until it is told to end.

fn main() {}
