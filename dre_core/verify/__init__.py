"""Verifiers: pure judges over sealed evidence; they open no socket and run nothing."""
