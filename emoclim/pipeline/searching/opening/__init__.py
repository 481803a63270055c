"""Open libraries for search, by indexes that are as library and cache are now."""
