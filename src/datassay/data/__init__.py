"""Rows at the door: read from files or memory, checked, encoded once."""
