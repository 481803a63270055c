"""Hold K heads of one kind at once, each in its own part of every tensor: trained, fixed, or of a linear map."""
