"""Keys, envelopes, notes, Merkle trees and authenticated encryption; no I/O but key files."""
