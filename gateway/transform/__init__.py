"""Transforms of data sets. None exist yet: rules that name one are refused."""
