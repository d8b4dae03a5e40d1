"""`python -m cli` is `streamwise`."""

from cli.run import main

main()
