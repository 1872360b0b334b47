//! EC2, STS wire protocols over the domain: generated parsers and writers, hand-written handlers.
