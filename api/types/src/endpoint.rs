//! The registry of REST endpoints: the one place where method, path, request and reply of each
//! operation stand. The server's router, the typed client and the OpenAPI document come from it.
