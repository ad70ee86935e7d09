//! Stories of resources and data sources: the provider over gRPC, and an emulator.

mod repository;
