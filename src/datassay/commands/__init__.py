"""The commands: each reads, calls the library, and prints. `datassay.cli` puts them together."""
