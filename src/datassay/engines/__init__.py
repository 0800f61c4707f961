"""Numerics that several methods share: arrays in, arrays out. Nothing here knows a Dataset or an id."""
