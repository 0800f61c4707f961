"""The local page on which a person decides, row by row: DESIGN's `datassay review`."""
