"""The commands of `bench data`, one file each."""
