"""Data sets: each module beside `base`, `files` and `loading` is one, found by listing this folder."""
