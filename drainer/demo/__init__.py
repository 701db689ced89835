"""`drainer demo`: a deploy under load, counted from the outside."""
