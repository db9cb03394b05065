"""`python -m kubelb_ccm.kubelb`."""

from kubelb_ccm.kubelb.cli import main

main(prog_name="kubelb")
