"""`python -m occupancy` is the command `occupancy`."""

from occupancy.cli import main

main()
