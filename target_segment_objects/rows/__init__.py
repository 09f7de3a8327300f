"""Load rows from Python, without Singer: `load` and `Loader`.

Rows become the records of a stream, and from there on it is the way of the command: the same
mapper, ledger, delivery and limits. New are only three things: what a Python value is as a record's
value (`python_values`), what the first values of properties say of their types (`row_reader`), and
what is reported at the end (`load_result`).
"""
