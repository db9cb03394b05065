"""`make images`: build the project's container images and show them."""

from __future__ import annotations

import sys

import click
from tabulate import tabulate

from kubelb_e2e.errors import LabError, Unavailable
from kubelb_e2e.images import base as bases
from kubelb_e2e.images import build


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--base",
    metavar="IMAGE",
    help=f"What to build from: any image with glibc and Python 3.11 or newer.  [default: {bases.DEFAULT}; "
    f"if that is not here, {bases.OWN}, which `make base-image` makes without a registry]",
)
def main(names: tuple[str, ...], base: str | None) -> None:
    """Build the container images of e2e/images.yaml, all of them or those named, and show them.

    \b
    python -m kubelb_e2e.images                                  all
    python -m kubelb_e2e.images kubelb/manager kubelb/ccm        two of them; the tag may be left out
    python -m kubelb_e2e.images --base kubelb/base:bookworm      from an image that was made here

    Wheels and Envoy are brought into folders first, which needs a network only once; the builds run without one.
    """  # click's mark for "keep these lines" is the character itself
    try:
        build.build(names or None, base=base or None, say=_say)
        rows = [
            (image.name, f"{image.size / 1e6:.1f} MB", image.user, _short(image.id))
            for image in build.built(names or None)
        ]
    except LabError as error:
        print(f"images: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, Unavailable) else 1)
    print(tabulate(rows, headers=("image", "size", "user", "id"), colalign=("left", "right", "left", "left")))


def _say(text: str) -> None:
    print(f"images: {text}", flush=True)


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


if __name__ == "__main__":
    main()
