"""One file per encoder, found by listing this folder."""
