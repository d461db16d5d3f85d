"""One file per verb of the command line: a frozen dataclass of options, whose docstring is the help, with `run`.

Everything heavy is imported inside `run`, so that `--help` answers at once.
"""
