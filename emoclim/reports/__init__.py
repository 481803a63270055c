"""Report objects, tables and plots."""
