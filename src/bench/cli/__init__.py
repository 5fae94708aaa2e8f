"""The command line: the only room that parses words and prints results."""
