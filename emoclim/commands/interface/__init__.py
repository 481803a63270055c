"""What commands have in common: their options, and how what they give is shown, on a terminal or as JSON."""
