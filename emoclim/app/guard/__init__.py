"""Keep what others send from doing harm: requests that are refused, uploads, and decoding within bounds."""
