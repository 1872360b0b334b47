//! Structs of the REST surface, one file a resource.
