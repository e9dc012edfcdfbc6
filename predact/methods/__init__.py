"""Measures on ids and arrays that know no claim."""
