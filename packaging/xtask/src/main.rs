//! Developer tasks: code generation from the EC2 service model.

fn main() {}
