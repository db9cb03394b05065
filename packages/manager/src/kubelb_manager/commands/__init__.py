"""The words of the command line beside `run`, one file for each group; they talk to a cluster or to none, and end."""
