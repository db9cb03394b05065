"""`python -m kubelb_ccm`."""

from kubelb_ccm.cli import main

main()
