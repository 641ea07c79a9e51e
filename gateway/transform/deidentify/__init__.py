"""De-identification by PS3.15 Annex E: the standard's table, the types of attributes, words that name nobody.

`data/` holds facts, in files of the project's own; `table`, `types` and `words` read them, once, when first asked. The
first two are made by `python -m tools.deidentification`, the words are written by hand.
"""
