"""`python -m kubelb_manager`."""

from kubelb_manager.cli import main

main()
