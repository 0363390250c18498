"""The command line: flags, help, recipes, the entry of all commands."""
